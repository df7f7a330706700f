"""Realistic songs: composing everywhere; mixing, singing and whole songs where their packages are installed."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from experiments.realistic_songs import band, composer, dataset, lyrics, melody, plan, sources, styles

from wsa_lightning.data.splits import validation_names
from wsa_lightning.errors import UserError

SECONDS = 30.0
GM_DRUMS = (
    *("kick", "snare", "rim", "clap", "hat", "pedal", "open", "ride", "crash", "crash2"),
    *("tom_low", "tom_mid", "tom_high", "shaker", "tambourine", "conga"),
)
RATE = 44100


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture
def master() -> ModuleType:
    pytest.importorskip("pedalboard", reason="pedalboard is not installed (extra `songs`)")
    from experiments.realistic_songs import master

    return master


def missing_packages() -> str:
    try:
        sources.check_sources()
    except UserError as error:
        return str(error)
    return ""


# --- composing


@pytest.mark.parametrize("style", list(styles.STYLES))
def test_every_style_plays_in_time_and_within_its_instruments(style: str) -> None:
    song = plan.draw_plan(rng(), SECONDS, style)
    assert song.seconds(song.bars * song.style.beats) >= SECONDS - 1e-9
    hits = band.drum_part(rng(1), song)
    assert {hit.drum for hit in hits} <= {*GM_DRUMS}
    assert all(0 < hit.velocity <= 1 and hit.start >= 0 for hit in hits)
    notes = band.bass_part(rng(1), song)
    assert all(20 <= note.pitch <= 62 for note in notes)
    for player in song.style.players:
        part = band.comping_part(rng(2), song, player, 60) if player.patterns else band.held_part(rng(2), song, 60)
        assert all(30 <= note.pitch <= 90 and note.length > 0 and 0 < note.velocity <= 1 for note in part)


@pytest.mark.parametrize("seed", range(8))
def test_phrases_are_sung_one_note_after_another(seed: int) -> None:
    song = plan.draw_plan(rng(seed), SECONDS)
    phrases = melody.sung_part(rng(seed), song, 60.0)
    notes = [note for phrase in phrases for note in phrase.notes]
    assert notes
    assert all(first.end <= second.start + 1e-9 for first, second in itertools.pairwise(notes))
    assert all(50 <= note.pitch <= 76 for note in notes)


def test_no_choir_is_among_the_instruments() -> None:
    """General MIDI's choirs and voices (52 to 54, 85, 91) would be vocals in another stem."""
    for style in styles.STYLES.values():
        programs = {program for player in style.players for program in player.programs}
        assert not {52, 53, 54, 85, 91} & (programs | set(style.bass_programs) | set(style.solos))


def test_swing_delays_the_off_beat_alone() -> None:
    straight = plan.draw_plan(rng(), SECONDS, "rock")
    swung = plan.Plan("rock", 60.0, 1 / 6, straight.harmony, straight.sections)
    assert [swung.seconds(beat) for beat in (0, 0.5, 1, 1.5)] == pytest.approx([0, 2 / 3, 1, 5 / 3])


@pytest.mark.parametrize("language", list(lyrics.WORDS))
def test_lyrics_have_enough_syllables(language: str) -> None:
    if language == "japanese":
        assert len(lyrics.kana(rng(), 9)) == 9
    else:
        assert len(lyrics.phrase(rng(), language, 9).split()) >= 3


# --- the set


def test_validation_songs_are_those_that_training_will_take() -> None:
    tasks = dataset.plan_set(Path("root"), 352, 40, SECONDS, 0)
    train = [task for task in tasks if task.folder.parent.name == "train"]
    named = validation_names([task.folder.name for task in train])
    assert {task.folder.name for task in train if task.pool == "valid"} == named
    pools = [task.pool for task in tasks]
    assert (pools.count("train"), pools.count("valid"), pools.count("test")) == (302, 50, 40)
    assert len({task.folder for task in tasks}) == 392


def test_pools_share_no_voice_and_test_songs_no_instrument() -> None:
    assert len({voice.speaker for voice in sources.VOICES}) == len(sources.VOICES)
    for table in (sources.SOUNDFONTS, sources.DRUM_SOUNDFONTS, sources.ACOUSTIC_KITS, sources.ELECTRONIC_KITS):
        assert not set(table["test"]) & (set(table["train"]) | set(table["valid"]))
    for pool in ("train", "valid", "test"):
        assert len(sources.voices(pool)) >= 2


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PACKAGES", {"fluidsynth": Path("/nowhere/fluidsynth")})
    with pytest.raises(UserError, match="apt-get install --no-install-recommends fluidsynth"):
        sources.check_sources()


def test_a_folder_with_other_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "check_sources", lambda: None)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="not empty"):
        dataset.make_set(tmp_path, train=0, test=0, seconds=1, seed=0, processes=1)


# --- mixing


def stems(seed: int, level: float = 0.5) -> dict[str, np.ndarray[Any, Any]]:
    noise = rng(seed)
    return {name: level * noise.standard_normal((2, 3 * RATE)) for name in composer.STEMS}


def test_mixture_is_the_exact_sum_and_does_not_clip(master: ModuleType) -> None:
    song = master.quantise(master.master(rng(1), stems(2)))
    total = np.sum([song[name].astype(np.int32) for name in composer.STEMS], axis=0)
    np.testing.assert_array_equal(song["mixture"], total)
    assert np.abs(song["mixture"].astype(np.int32)).max() < 32767


def test_limiter_keeps_every_peak_below_the_ceiling(master: ModuleType) -> None:
    peaks = np.abs(rng().standard_normal(RATE)) * np.linspace(0, 3, RATE)
    assert (peaks * master.limiting(peaks)).max() <= master.CEILING + 1e-9


def test_loudness_of_a_sine_is_the_recommendations(master: ModuleType) -> None:
    """BS.1770: a 997-Hz sine at full scale in one channel measures -3.01 LUFS."""
    time = np.arange(5 * RATE) / RATE
    audio = np.stack([np.sin(2 * np.pi * 997 * time), np.zeros_like(time)])
    assert master.loudness(audio) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_vocals_are_balanced_within_the_range(master: ModuleType, seed: int) -> None:
    levelled, ratio = master.balance(rng(seed), stems(seed))
    assert -12 <= ratio <= 3
    rest = levelled["drums"] + levelled["bass"] + levelled["other"]
    measured = 10 * np.log10(np.mean(levelled["vocals"] ** 2) / np.mean(rest**2))
    assert measured == pytest.approx(ratio, abs=0.1)


# --- singing


@pytest.mark.skipif(importlib.util.find_spec("pyworld") is None, reason="pyworld is not installed (extra `songs`)")
def test_speech_sings_the_melody() -> None:
    """A buzz at 120 Hz stands in for speech: three vowels, sung on three notes."""
    import pyworld
    from experiments.realistic_songs import singing, speech

    time = np.arange(RATE) / RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 30))
    said = speech.Speech(np.asarray(buzz), RATE, ())
    phones = [speech.Phone(True, start, start + 0.25) for start in (0.05, 0.35, 0.65)]
    notes = [composer.Note(0.5 + 0.6 * n, 0.58, pitch, 0.9) for n, pitch in enumerate((57, 60, 64))]
    singer = singing.Singer(1.0, 5.0, 0.0, 0.04, 0.0, 0.0, 0.0, 0.0)
    audio, start = singing.sing(rng(), singing.analyse(said), singing.syllables(phones), notes, singer)
    pitch, times = pyworld.dio(audio, RATE)
    for note in notes:
        held = (times + start > note.start + 0.2) & (times + start < note.end - 0.15) & (pitch > 0)
        found = 69 + 12 * np.log2(np.median(pitch[held]) / 440)
        assert found == pytest.approx(note.pitch, abs=0.3)


# --- whole songs


@pytest.mark.skipif(bool(missing_packages()), reason=missing_packages() or "complete")
@pytest.mark.parametrize(("index", "pool", "style"), [(1, "train", "rock"), (7, "test", None)])
def test_same_seed_gives_same_bytes(index: int, pool: sources.Pool, style: str | None) -> None:
    from experiments.realistic_songs.song import make_song

    first, recipe = make_song(3, index, pool, 6.0, style)
    second, again = make_song(3, index, pool, 6.0, style)
    assert recipe == again
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert first["vocals"].any()
