"""What went wrong with a database, in words that say what to do."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """Say what a database's error means, and the remedy."""
    text = str(error)
    if "malformed" in text or isinstance(error, UnicodeDecodeError):  # SQLite's words on it
        return f"the file is damaged ({text}). Restore it, or run again into another file."
    if "not a database" in text:
        return f"expected an SQLite file, got something else ({text}). Choose another file."
    if "full" in text:
        return "the disk is full. What was reported before is kept; free space and run again."
    if "readonly" in text or "unable to open" in text:
        return f"expected a file and folder that can be written ({text}). Choose another place."
    if "locked" in text:
        return (
            "another process has been writing for half a minute. Wait for it, or use another file."
        )
    if "connect" in text.lower():  # a server that is not there, or went away
        return (
            f"{text.rstrip('.')} What was reported before is kept; see that the server runs, and "
            "give the same command again."
        )
    return f"{text}."
