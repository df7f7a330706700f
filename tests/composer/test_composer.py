"""Composed pieces: same bytes, exact sums, levels, silence, titles."""

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from wsa_lightning.composer import compose, title

SOURCES = ("drums", "bass", "other", "vocals")

Piece = dict[str, NDArray[np.int16]]


@pytest.fixture(scope="module", params=range(4))
def piece(request: pytest.FixtureRequest) -> Piece:
    return compose(7, request.param, 20.0)


def digest(piece: Piece) -> str:
    return hashlib.sha256(b"".join(piece[stem].tobytes() for stem in sorted(piece))).hexdigest()


def score_of_mixture(piece: Piece) -> float:
    """What uSDR the mixture gets when it is handed in as the vocals, in dB."""
    vocals, mixture = (piece[stem].astype(np.float64) for stem in ("vocals", "mixture"))
    return float(10 * np.log10(np.sum(vocals**2) / np.sum((vocals - mixture) ** 2)))


def test_same_seed_gives_same_bytes() -> None:
    assert digest(compose(3, 5, 2.0)) == digest(compose(3, 5, 2.0))


@pytest.mark.parametrize("other", [(3, 6), (4, 5)])
def test_another_index_or_seed_gives_another_piece(other: tuple[int, int]) -> None:
    assert digest(compose(3, 5, 2.0)) != digest(compose(*other, 2.0))


def test_mixture_is_the_exact_sum(piece: Piece) -> None:
    total = sum(piece[stem].astype(np.int32) for stem in SOURCES)
    np.testing.assert_array_equal(piece["mixture"], total)


def test_mixture_as_vocals_scores_about_zero(piece: Piece) -> None:
    assert -1 < score_of_mixture(piece) < 1


@pytest.mark.parametrize("index", range(6))
def test_short_pieces_are_levelled_too(index: int) -> None:
    assert -1 < score_of_mixture(compose(0, index, 1.6)) < 1


def test_levels_vary_from_piece_to_piece() -> None:
    scores = [score_of_mixture(compose(0, index, 1.6)) for index in range(6)]
    assert np.ptp(scores) > 0.3


def test_about_a_third_of_the_vocals_is_silent(piece: Piece) -> None:
    vocals = piece["vocals"].astype(np.float64)
    frame = 2205  # 50 ms
    frames = vocals[: len(vocals) // frame * frame].reshape(-1, frame * 2)
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    silent = np.mean(loudness < 0.01 * np.sqrt(np.mean(vocals**2)))
    assert 0.2 < silent < 0.5


def test_no_stem_is_empty_and_nothing_clips(piece: Piece) -> None:
    for stem in SOURCES:
        assert np.abs(piece[stem].astype(np.int32)).max() > 1000
    for samples in piece.values():
        assert np.abs(samples.astype(np.int32)).max() < 0.9 * 32768


def test_both_sides_carry_different_sound(piece: Piece) -> None:
    for stem in ("drums", "other", "vocals", "mixture"):
        left, right = piece[stem].T.astype(np.float64)
        assert np.any(left != right)


@pytest.mark.parametrize("seconds", [0.05, 1.3, 3.337])
def test_length_is_exact(seconds: float) -> None:
    for samples in compose(0, 0, seconds).values():
        assert samples.shape == (round(seconds * 44100), 2)
        assert samples.dtype == np.int16


def test_length_must_be_positive() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        compose(0, 0, 0.0)


def test_titles_differ_and_repeat() -> None:
    titles = [title(0, index) for index in range(40)]
    assert len(set(titles)) == 40
    assert titles[3].startswith("Song 003 - ")
    assert titles == [title(0, index) for index in range(40)]
