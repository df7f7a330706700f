"""One song from its seed: planned, played, sung, mixed, mastered."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .band import bass_part, comping_part, drum_part, held_part, solo_part
from .composer import RATE, Note
from .effects import amplify, apply, bass_chain, draw_room, drum_chain, place, player_chain, tame_cymbals, vocal_chain
from .kits import play_hydrogen
from .master import balance, master, quantise, set_level
from .midi import play_kit, play_notes
from .plan import Plan, draw_plan
from .recordings import excerpt, guess_harmony
from .sources import ACOUSTIC_KITS, DRUM_SOUNDFONTS, ELECTRONIC_KITS, SOUNDFONTS, Pool
from .styles import STYLES, Player
from .vocals import Vocals, draw_vocals

Signal = NDArray[np.float64]
Recipe = dict[str, str | float | list[str]]

RECORDED_SHARE = 0.2
"""Songs whose accompaniment is a real recording: all of it in `other`, `drums` and `bass` silent."""

_CENTRES = {"acoustic guitar": 55.0, "clean guitar": 57.0, "pluck": 69.0, "brass": 63.0, "strings": 62.0}
_MELODIC = ("strings", "brass")


def make_song(
    seed: int, index: int, pool: Pool, seconds: float, style: str | None = None
) -> tuple[dict[str, NDArray[np.int16]], Recipe]:
    """Make a song; the same arguments give the same samples.

    Args:
        seed: the collection.
        index: the song within it.
        pool: which voices, soundfonts, kits and recordings it may use.
        seconds: its length.
        style: a name in ``STYLES``; drawn if None.

    Returns:
        "mixture" and the four stems as (N, 2) int16 at 44.1 kHz, the mixture their exact sum; and what they are made
        of.
    """
    streams = np.random.SeedSequence([seed, index]).spawn(7)
    song, drums, bass, other, vocals, desk, record = (np.random.Generator(np.random.PCG64(s)) for s in streams)
    samples = round(seconds * RATE)
    if style is None and song.random() < RECORDED_SHARE:
        stems, singing, recipe = _over_recording(song, vocals, pool, seconds, samples, seed + index)
    else:
        plan = draw_plan(song, seconds, style)
        room = draw_room(song)
        soundfonts = SOUNDFONTS[pool]
        soundfont = soundfonts[int(song.integers(len(soundfonts)))]
        drum_audio, kit = _play_drums(drums, plan, pool, soundfont, samples)
        stems = {
            "drums": tame_cymbals(apply(drum_chain(drums, room, plan.style.machine), drum_audio)),
            "bass": _play_bass(bass, plan, soundfonts, soundfont, samples),
        }
        stems["other"], instruments = _play_others(other, plan, soundfonts, soundfont, room, samples)
        singing = draw_vocals(vocals, plan, pool, samples, seed + index)
        stems["vocals"] = _mix_vocals(vocals, singing, room, 60 / plan.tempo)
        recipe = {
            "style": plan.style_name,
            "tempo": round(plan.tempo, 1),
            "soundfont": soundfont.name,
            "kit": kit,
            "instruments": instruments,
            "form": [f"{section.name} {section.bars}" for section in plan.sections],
        }
    stems, ratio = balance(desk, stems)
    recipe |= {"voice": singing.voice, "backing": list(singing.backing_parts), "vocals_db": round(ratio, 2)}
    return quantise(master(record, stems)), recipe


def _over_recording(
    song: np.random.Generator, vocals: np.random.Generator, pool: Pool, seconds: float, samples: int, seed: int
) -> tuple[dict[str, Signal], Vocals, Recipe]:
    """A singer over a real recording, in its key as far as that can be told."""
    audio, name = excerpt(song, pool, seconds)
    styles = [name for name, style in STYLES.items() if style.beats == 4]
    plan = draw_plan(song, seconds, styles[int(song.integers(len(styles)))])
    plan = replace(plan, harmony=guess_harmony(audio, plan.bars))
    singing = draw_vocals(vocals, plan, pool, samples, seed)
    silence = np.zeros((2, samples))
    stems = {
        "drums": silence,
        "bass": silence,
        "other": audio,
        "vocals": _mix_vocals(vocals, singing, draw_room(song), 60 / plan.tempo),
    }
    return stems, singing, {"style": "recording", "recording": name, "tempo": round(plan.tempo, 1)}


def _mix_vocals(rng: np.random.Generator, singing: Vocals, room: tuple[float, float], beat: float) -> Signal:
    """Lead in the middle, backing around it, each through its own effects."""
    lead = apply(vocal_chain(rng, room, beat, backing=False), np.stack([singing.lead, singing.lead]))
    lead = place(lead, float(rng.uniform(-0.15, 0.15)))
    if not singing.backing.any():
        return lead
    return lead + apply(vocal_chain(rng, room, beat, backing=True), singing.backing)


def _play_drums(rng: np.random.Generator, plan: Plan, pool: Pool, soundfont: Path, samples: int) -> tuple[Signal, str]:
    hits = [hit for hit in drum_part(rng, plan) if hit.start * RATE < samples]
    if not hits:
        return np.zeros((2, samples)), "none"
    kind = plan.style.kit
    electronic = kind == "electronic" or (kind == "any" and rng.random() < 0.5)
    kits = ELECTRONIC_KITS[pool] if electronic else ACOUSTIC_KITS[pool]
    recorded = DRUM_SOUNDFONTS[pool] if not electronic else ()
    choice = rng.random()
    if choice < 0.45:
        kit = kits[int(rng.integers(len(kits)))]
        return play_hydrogen(rng, hits, kit, samples), kit
    if choice < 0.8 and recorded:
        bank = recorded[int(rng.integers(len(recorded)))]
        return play_kit(hits, None, bank, samples), bank.stem
    programs = (24, 25) if electronic else (0, 8, 16, 32, 40)
    program = int(rng.choice([48] if plan.style_name == "cinematic" else programs))
    return play_kit(hits, program, soundfont, samples), f"{soundfont.stem} {program}"


def _play_bass(
    rng: np.random.Generator, plan: Plan, soundfonts: Sequence[Path], soundfont: Path, samples: int
) -> Signal:
    program = int(rng.choice(plan.style.bass_programs))
    audio = _play(bass_part(rng, plan), program, soundfonts, soundfont, samples)
    return place(apply(bass_chain(rng), _unit(audio)), 0.0, float(rng.uniform(0, 0.4)))


def _play_others(
    rng: np.random.Generator,
    plan: Plan,
    soundfonts: Sequence[Path],
    soundfont: Path,
    room: tuple[float, float],
    samples: int,
) -> tuple[Signal, list[str]]:
    """Everything but drums and bass, each instrument through its effects, at its level and place."""
    out = np.zeros((2, samples))
    instruments: list[str] = []
    beat = 60 / plan.tempo
    players = [player for player in plan.style.players if rng.random() < player.chance] or [plan.style.players[0]]
    side = float(rng.choice([-1, 1]))
    for number, player in enumerate(players):
        program = int(rng.choice(player.programs))
        audio, width = _play_player(rng, plan, player, program, soundfonts, soundfont, samples)
        audio = apply(player_chain(rng, player.kind, room, beat), audio)
        position = 0.0 if player.kind in ("pad", "strings") else side * (-1) ** number * float(rng.uniform(0.15, 0.85))
        audio = place(audio, 0.0 if width > 1.5 else position, min(width, 1.3))
        out += set_level(audio, -20 + player.level + float(rng.uniform(-3, 2)))
        instruments.append(f"{player.kind} {program}")
    program = int(rng.choice(plan.style.solos))
    notes = solo_part(rng, plan, float(rng.uniform(64, 76)), fills=bool(rng.random() < 0.5))
    if notes:
        if program in (29, 30):
            audio = amplify(rng, _unit(_play(notes, 27, soundfonts, soundfont, samples, vibrato=True)), 30.0)
        else:
            audio = _play(notes, program, soundfonts, soundfont, samples, vibrato=True)
        audio = apply(player_chain(rng, "solo", room, beat), _unit(audio))
        out += set_level(place(audio, float(rng.uniform(-0.3, 0.3))), -19 + float(rng.uniform(-3, 2)))
        instruments.append(f"solo {program}")
    return out, instruments


def _play_player(
    rng: np.random.Generator,
    plan: Plan,
    player: Player,
    program: int,
    soundfonts: Sequence[Path],
    soundfont: Path,
    samples: int,
) -> tuple[Signal, float]:
    """One instrument at peak 1, and its width; 2 for a part played twice, left and right."""
    centre = _CENTRES.get(player.kind, 60.0) + float(rng.uniform(-3, 4))
    if player.kind == "distorted guitar":
        # A clean guitar through an amplifier, or the soundfont's distorted one through a milder one.
        clean = rng.random() < 0.6
        drive = float(rng.uniform(22, 38) if clean else rng.uniform(4, 12))
        state = rng.bit_generator.state
        takes = []
        for take in range(2):
            rng.bit_generator.state = state  # the same part, played with the inaccuracies of another take
            notes = comping_part(rng, plan, player, centre)
            late = np.random.Generator(np.random.PCG64([int(1000 * drive), take]))
            notes = [replace(n, start=max(0.0, n.start + 0.006 * float(late.standard_normal()))) for n in notes]
            takes.append(_unit(_play(notes, 27 if clean else program, soundfonts, soundfont, samples)).mean(0))
        return np.stack([amplify(rng, take, drive)[0] for take in takes]), 2.0
    notes = comping_part(rng, plan, player, centre) if player.patterns else held_part(rng, plan, centre)
    audio = _play(notes, program, soundfonts, soundfont, samples, vibrato=player.kind in _MELODIC)
    if player.kind == "acoustic guitar" and rng.random() < 0.5:
        again = [replace(n, start=max(0.0, n.start + 0.008 * float(rng.standard_normal()))) for n in notes]
        second = _play(again, program, soundfonts, soundfont, samples)
        return np.stack([_unit(audio).mean(0), _unit(second).mean(0)]), 2.0
    return _unit(audio), float(rng.uniform(0.5, 1.3))


def _play(
    notes: Sequence[Note],
    program: int,
    soundfonts: Sequence[Path],
    soundfont: Path,
    samples: int,
    *,
    vibrato: bool = False,
) -> Signal:
    """Play notes; small soundfonts lack some instruments, which another one of the pool takes over."""
    heard = [note for note in notes if note.start * RATE < samples - RATE // 10]
    audio = np.zeros((2, samples))
    for bank in (soundfont, *soundfonts):
        if heard and not np.abs(audio).max() > 1e-4:
            audio = play_notes(heard, program, bank, samples, vibrato=vibrato)
    return audio


def _unit(audio: Signal) -> Signal:
    """Scale to peak 1; silence stays silent."""
    peak = float(np.abs(audio).max())
    return audio / peak if peak > 1e-6 else audio
