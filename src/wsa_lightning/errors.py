"""The exception for mistakes of a user, and short texts for the exceptions of other libraries."""


class UserError(ValueError):
    """Something the user can fix: the message names the file or key, the value seen, and the remedy.

    The command line prints it as one line, without a traceback, and exits with status 2.
    """


_ALLOCATOR_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation on a GPU, on the CPU or in NumPy failed."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _ALLOCATOR_WORDS)


def one_line(error: BaseException | str, most: int = 600) -> str:
    """The whole text of an exception as one printable line of at most ``most`` characters.

    For texts that quote a file's content: names in a downloaded file can hold any character, at any length.
    """
    text = " ".join("".join(character if character.isprintable() else " " for character in str(error)).split())
    return text if len(text) <= most else f"{text[: most - 200]} ... {text[-190:]}"


def first_line(error: BaseException, most: int = 160) -> str:
    """The first line of an exception's text, or its type where it has none: the reason, to quote within a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:most]
