"""Random mixtures: what is drawn, what is varied, what is drawn again."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

from wsa_lightning.data.mixing import Augmentation, draw, mix, sample_generator, select_stems
from wsa_lightning.data.tracks import SOURCES, STEMS, Track
from wsa_lightning.errors import UserError

MakeTrack = Callable[..., Track]
PLAIN = Augmentation(remix=0, gain=(1, 1), channel_swap=0, polarity=0)
CHUNK = 500


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The (track, start) of each read, in the order of ``SOURCES`` within a draw."""
    seen: list[tuple[str, int]] = []
    read = Track.read

    def spy(self: Track, stem: str, start: int, stop: int) -> NDArray[np.float32]:
        seen.append((self.name, start))
        return read(self, stem, start, stop)

    monkeypatch.setattr(Track, "read", spy)
    return seen


def test_a_true_track_is_read_at_one_offset_and_left_as_it_is(
    tracks: list[Track], reads: list[tuple[str, int]]
) -> None:
    sources = draw(tracks, CHUNK, sample_generator(0, 0, 0), PLAIN).sources
    assert sources.shape == (4, 2, CHUNK)
    assert sources.dtype == np.float32
    (place,) = set(reads)
    track = next(track for track in tracks if track.name == place[0])
    for source, audio in zip(SOURCES, sources, strict=True):
        np.testing.assert_array_equal(audio, track.read(source, place[1], place[1] + CHUNK))


def test_a_remix_takes_each_source_from_a_place_of_its_own(tracks: list[Track], reads: list[tuple[str, int]]) -> None:
    for index in range(20):
        draw(tracks, CHUNK, sample_generator(0, 0, index), Augmentation(remix=1))
    samples = [reads[n : n + 4] for n in range(0, len(reads), 4)]
    assert len(samples) == 20
    assert all(len(set(places)) == 4 for places in samples)
    assert {track for track, _ in reads} == {track.name for track in tracks}


def test_every_offset_of_a_track_can_be_drawn(make_track: MakeTrack, reads: list[tuple[str, int]]) -> None:
    track = make_track(samples=CHUNK + 2)
    for index in range(40):
        draw([track], CHUNK, sample_generator(0, 0, index), PLAIN)
    assert {start for _, start in reads} == {0, 1, 2}


def test_remix_is_the_share_of_remixed_samples(tracks: list[Track], reads: list[tuple[str, int]]) -> None:
    for index in range(400):
        draw(tracks, 10, sample_generator(1, 0, index), Augmentation(remix=0.25))
    remixed = sum(len(set(reads[n : n + 4])) > 1 for n in range(0, len(reads), 4))
    assert remixed / 400 == pytest.approx(0.25, abs=0.06)


def test_gain_swap_and_polarity_are_drawn_for_each_source(tracks: list[Track]) -> None:
    augmentation = Augmentation(remix=0, gain=(0.5, 2))
    gains, swapped = [], []
    for index in range(100):
        plain = draw(tracks[:1], 2000, sample_generator(0, 0, index), PLAIN).sources
        varied = draw(tracks[:1], 2000, sample_generator(0, 0, index), augmentation).sources
        for before, after in zip(plain, varied, strict=True):
            swap = abs(np.vdot(before[::-1], after)) > abs(np.vdot(before, after))
            aligned = before[::-1] if swap else before
            gain = np.vdot(aligned, after) / np.vdot(aligned, aligned)
            np.testing.assert_allclose(after, gain * aligned, atol=1e-6)
            gains.append(gain)
            swapped.append(swap)
    assert 0.5 <= np.abs(gains).min() < 0.52
    assert 1.98 < np.abs(gains).max() <= 2
    assert np.mean(np.sign(gains)) == pytest.approx(0, abs=0.15)
    assert np.mean(swapped) == pytest.approx(0.5, abs=0.08)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 999),
    index=st.integers(0, 10**6),
    other=st.integers(0, 99),
)
def test_the_generator_depends_on_seed_epoch_and_index(seed: int, epoch: int, index: int, other: int) -> None:
    first = sample_generator(seed, epoch, index).integers(2**62)
    assert first == sample_generator(seed, epoch, index).integers(2**62)
    for key in [(seed + other + 1, epoch, index), (seed, epoch + other + 1, index)]:
        assert first != sample_generator(*key).integers(2**62)
    if epoch != index:
        assert first != sample_generator(seed, index, epoch).integers(2**62)


def test_silent_vocals_stay(make_track: MakeTrack, reads: list[tuple[str, int]]) -> None:
    track = make_track(silent=("vocals",))
    sources = draw([track], CHUNK, sample_generator(0, 0, 0), Augmentation()).sources
    assert len(reads) == 4
    assert not sources[0].any()
    assert all(source.any() for source in sources[1:])


def test_a_silent_mixture_is_drawn_again(make_track: MakeTrack, reads: list[tuple[str, int]]) -> None:
    tracks = [make_track("silent", silent=SOURCES), make_track("loud")]
    for index in range(30):
        sources = draw(tracks, CHUNK, sample_generator(0, 0, index), PLAIN).sources
        assert mix(sources).any()
    assert len(reads) > 30 * 4


def test_silence_everywhere_is_returned_after_eight_draws(make_track: MakeTrack, reads: list[tuple[str, int]]) -> None:
    sources = draw([make_track(silent=SOURCES)], CHUNK, sample_generator(0, 0, 0), Augmentation()).sources
    assert len(reads) == 8 * 4
    assert not sources.any()


@settings(deadline=None)
@given(stems=st.lists(st.sampled_from(STEMS), min_size=1, unique=True))
def test_stems_come_in_the_order_named(stems: Sequence[str]) -> None:
    sources = np.random.default_rng(0).standard_normal((4, 2, 30)).astype(np.float32)
    selected = select_stems(sources, stems)
    assert selected.shape == (len(stems), 2, 30)
    for stem, audio in zip(stems, selected, strict=True):
        wanted = sources[1:].sum(axis=0) if stem == "instrumental" else sources[SOURCES.index(stem)]
        np.testing.assert_array_equal(audio, wanted)


def test_vocals_and_instrumental_make_the_mixture(tracks: list[Track]) -> None:
    sources = draw(tracks, CHUNK, sample_generator(0, 0, 0), Augmentation()).sources
    stems = select_stems(sources, ["vocals", "instrumental"])
    np.testing.assert_allclose(stems.sum(axis=0), mix(sources), atol=1e-6)


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        (
            ["vocals", "guitar"],
            "unknown stem 'guitar'; known stems: vocals, drums, bass, other, instrumental",
        ),
        (["mixture"], "unknown stem 'mixture'"),
        (["bass", "bass"], "named twice"),
        ([], "no stems given; known stems: vocals"),
    ],
)
def test_stems_that_cannot_be_selected_are_named(stems: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        select_stems(np.zeros((4, 2, 10), np.float32), stems)


@pytest.mark.parametrize("gain", [(1.0, 0.5), (-1.0, 1.0), (0.0, 0.0), (1.0, float("inf")), (1.0,)])
def test_a_range_of_gains_that_makes_no_sense_is_named(gain: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"augmentation\.gain is .*, expected"):
        Augmentation(gain=gain)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["remix", "channel_swap", "polarity"])
@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan", "often"])
def test_an_option_that_is_not_a_probability_is_named(key: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    parser.add_argument("--augmentation", type=Augmentation)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--augmentation.{key}={value}"])
    said = capsys.readouterr().err
    for word in (f"augmentation.{key}", value, "ClosedUnitInterval"):
        assert word in said
