"""The one exception a user is meant to read."""


class UserError(ValueError):
    """Something the user can mend: the message names the file or key, the value seen, and the remedy.

    The command line prints it as one line, without a traceback, and exits with status 2.
    """


_ALLOCATOR_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation on a GPU, on the CPU or in NumPy failed."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _ALLOCATOR_WORDS)


def one_line(error: BaseException, most: int = 600) -> str:
    """An exception's text as one printable line: names in a file from strangers can hold anything, at any length."""
    text = " ".join("".join(character if character.isprintable() else " " for character in str(error)).split())
    return text if len(text) <= most else f"{text[: most - 200]} ... {text[-190:]}"


def first_line(error: BaseException, most: int = 160) -> str:
    """What another library's exception says, as a part of one of our lines."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:most]
