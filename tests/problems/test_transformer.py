import pytest
import torch

import subspan as ss
from subspan.problems import Problem, load
from subspan.problems.text import TEXT, vocabulary, windows
from subspan.problems.transformer import (
    Attention,
    CharacterTransformer,
    VisionTransformer,
    transformer_normal,
)
from subspan.testing import check_problem


def test_parameter_counts() -> None:
    with torch.device("meta"):
        for shape, count in (((1, 28, 28), 204_938), ((3, 32, 32), 207_946)):
            model = VisionTransformer(shape, 10)
            assert sum(p.numel() for p in model.parameters()) == count
    assert load("text-transformer").ambient_dim == 63_414


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_pytorchs(causal) -> None:
    own = Attention(12, 3, causal).double()
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = own.qkv.weight.data, own.qkv.bias.data
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = own.out.weight.data, own.out.bias.data
    x = torch.randn(2, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5).double() if causal else None
    expected, _ = theirs(x, x, x, attn_mask=mask)
    torch.testing.assert_close(own(x), expected)


def test_patches_are_cut_as_they_lie_in_the_image() -> None:
    model = VisionTransformer((2, 4, 8), 3, patch=4, width=8, depth=1, heads=2)
    x = torch.arange(64.0).reshape(1, 2, 4, 8)
    seen = []
    model.embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(x)
    torch.testing.assert_close(seen[0][0, 0], x[0, :, :, :4].flatten())
    torch.testing.assert_close(seen[0][0, 1], x[0, :, :, 4:].flatten())


def test_the_vision_transformer_keeps_the_laws_of_a_problem() -> None:
    def make():
        return VisionTransformer((1, 8, 8), 10, width=8, depth=1, heads=2)

    x = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = (x, torch.arange(20) % 10)
    check_problem(Problem(make, data, data, init=transformer_normal(make, "position")))


def test_windows_are_stretches_of_the_text() -> None:
    (x, y), (test_x, test_y) = windows(10)
    letters, plain = vocabulary(), " ".join(TEXT.split())
    spelt = "".join(letters[int(i)] for i in x[100]) + letters[int(y[100])]
    assert spelt == plain[100:111]
    last = "".join(letters[int(i)] for i in test_x[-1]) + letters[int(test_y[-1])]
    assert plain.endswith(last)
    assert len(x) == len(plain) * 9 // 10 - 10
    assert len(windows(10, subset=50)[0][0]) == 50


def test_the_text_transformer_keeps_the_laws_and_learns() -> None:
    problem = load("text-transformer", subset=64)
    x, y = problem.batch()
    small = Problem(
        lambda: CharacterTransformer(len(vocabulary()), width=8, depth=1, heads=2),
        (x, y),
        (x[:32], y[:32]),
    )
    check_problem(small, rows=8)
    spec = ss.TrainSpec(lr=0.02, steps=30, batch_size=None)
    (trial,) = ss.run(small, "random", [400], 1, spec, workers=1)
    assert trial.best_train_loss < 3.3  # log 54 = 3.99


def test_no_character_sees_a_later_one() -> None:
    model = CharacterTransformer(9, context=6, width=8, depth=2, heads=2)
    seen = []
    model.norm.register_forward_hook(lambda _, inputs, output: seen.append(output))
    one = torch.tensor([[1, 2, 3, 4, 5, 6]])
    other = one.clone()
    other[0, 4:] = 0
    model(one)
    model(other)
    torch.testing.assert_close(seen[0][:, :4], seen[1][:, :4])
    assert not torch.allclose(seen[0][:, 4:], seen[1][:, 4:])
