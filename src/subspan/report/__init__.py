"""Figures: for each a function that makes its data and one that draws it."""

from subspan.report.comparison import compare_figure_data as compare_figure_data
from subspan.report.comparison import draw_compare_figure as draw_compare_figure
from subspan.report.figure import save_figure as save_figure
from subspan.report.phase_diagram import draw_phase_diagram as draw_phase_diagram
from subspan.report.phase_diagram import phase_diagram_data as phase_diagram_data
from subspan.report.response_surface import draw_response_surface as draw_response_surface
from subspan.report.response_surface import response_surface_data as response_surface_data
from subspan.report.spectroscopy import draw_spectroscopy as draw_spectroscopy
from subspan.report.spectroscopy import spectroscopy_data as spectroscopy_data
from subspan.report.success_curve import draw_success_curve as draw_success_curve
from subspan.report.success_curve import success_curve_data as success_curve_data
