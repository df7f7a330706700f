"""Styles of music: tempo, meter, grooves, bass lines and who plays what.

A groove is a bar in sixteenths, as in the composer: "X" an accent, "x" a stroke, "o" a ghost note, "." nothing.
A bass line gives onset and length in beats and a chord member: 0 the root, 1 the fifth, 2 the octave, 3 the third,
-1 a step below the next root. Comping gives onset and length in beats and a chord member, or None for the chord.
Programs are General MIDI's, counted from 0. Choirs and voices are not among them: whatever sings is in the vocals.
"""

from dataclasses import dataclass
from typing import Literal

from .composer import BASS_LINES, COMPING, GROOVES

Groove = dict[str, str]
BassLine = tuple[tuple[float, float, int], ...]
Comping = tuple[tuple[float, float, int | None], ...]
Kind = Literal["acoustic guitar", "clean guitar", "distorted guitar", "keys", "pad", "pluck", "brass", "strings"]


@dataclass(frozen=True)
class Player:
    """One accompanying instrument.

    Attributes:
        kind: decides what it plays and through which effects.
        programs: the General MIDI instruments to choose from.
        patterns: comping patterns to choose from; none for held chords.
        chance: probability that the song has it.
        level: dB, beside the others.
    """

    kind: Kind
    programs: tuple[int, ...]
    patterns: tuple[Comping, ...] = ()
    chance: float = 1.0
    level: float = 0.0


@dataclass(frozen=True)
class Style:
    """What songs of a style have in common.

    Attributes:
        tempo: lowest and highest beats a minute.
        grooves: quiet ones first; sections of more intensity take later ones.
        bass_lines: as grooves.
        bass_programs: General MIDI.
        players: the accompaniment.
        solos: General MIDI programs of the solo instrument.
        modes: names of modes to choose from.
        swings: how late off-beats may come, as shares of a beat.
        beats: beats a bar.
        kit: which kind of drum kit; "none" for music without drums.
        machine: whether notes are placed exactly.
        rap: probability that a verse is spoken in rhythm.
        sevenths: probability of four-note chords.
    """

    tempo: tuple[float, float]
    grooves: tuple[Groove, ...]
    bass_lines: tuple[BassLine, ...]
    bass_programs: tuple[int, ...]
    players: tuple[Player, ...]
    solos: tuple[int, ...]
    modes: tuple[str, ...] = ("major", "minor", "mixolydian", "dorian")
    swings: tuple[float, ...] = (0.0,)
    beats: int = 4
    kit: Literal["acoustic", "electronic", "any", "none"] = "acoustic"
    machine: bool = False
    rap: float = 0.0
    sevenths: float = 0.2


# The composer's comping with note lengths: broken chords ring, struck ones last until about the next.
_BROKEN = tuple(tuple((onset, 1.0, member) for onset, member in pattern) for pattern in COMPING[:2])
_STRUCK = tuple(tuple((onset, 0.45, member) for onset, member in pattern) for pattern in COMPING[2:])
_STRUM: Comping = tuple((onset, 0.5, None) for onset in (0, 1, 1.5, 2.5, 3, 3.5))
_EIGHTHS: Comping = tuple((eighth / 2, 0.4, None) for eighth in range(8))
_CHUGS: Comping = tuple((step / 4, 0.2, None) for step in (0, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15))
_WHOLE: Comping = ((0, 3.9, None),)
_HALVES: Comping = ((0, 1.9, None), (2, 1.9, None))
_PUSH: Comping = ((0, 1.4, None), (1.5, 2.4, None))
_SKANK: Comping = ((0.5, 0.2, None), (1.5, 0.2, None), (2.5, 0.2, None), (3.5, 0.2, None))
_FUNK: Comping = tuple((step / 4, 0.15, None) for step in (0, 3, 6, 7, 10, 12, 14))
_BOSSA: Comping = ((0, 0.9, None), (1.5, 0.4, None), (2.5, 0.9, None), (3.5, 0.4, None))
_CHARLESTON: Comping = ((0, 0.9, None), (1.5, 0.5, None))
_ARP16: Comping = tuple((step / 4, 0.22, (0, 1, 2, 3, 2, 1, 2, 1)[step % 8]) for step in range(16))
_WALTZ: Comping = ((0, 0.9, 0), (1, 0.5, None), (2, 0.5, None))
_WALTZ_BROKEN: Comping = tuple((eighth / 2, 0.9, (0, 1, 2, 3, 2, 1)[eighth]) for eighth in range(6))

_WALK: BassLine = ((0, 0.95, 0), (1, 0.95, 3), (2, 0.95, 1), (3, 0.95, -1))
_PUMP: BassLine = tuple((eighth / 2, 0.42, 0) for eighth in range(8))
_OCTAVES: BassLine = tuple((eighth / 2, 0.4, 2 * (eighth % 2)) for eighth in range(8))
_SLAP: BassLine = (
    (0, 0.4, 0),
    (0.75, 0.2, 2),
    (1.5, 0.3, 0),
    (2, 0.2, 1),
    (2.75, 0.2, 2),
    (3.25, 0.2, 0),
    (3.5, 0.4, -1),
)
_ONE_DROP: BassLine = ((0, 0.7, 0), (1, 0.45, 1), (1.5, 0.45, 0), (2.5, 0.45, 3), (3, 0.9, 1))
_TUMBAO: BassLine = ((0, 1.4, 0), (1.5, 0.5, 1), (2, 1.4, 1), (3.5, 0.5, 0))
_SUB: BassLine = ((0, 1.4, 0), (1.75, 0.5, 0), (2.5, 1.2, 0))
_LOW: BassLine = ((0, 3.9, 0),)
_TRIPLE: BassLine = ((0, 2.9, 0),)
_TRIPLE_WALK: BassLine = ((0, 1.9, 0), (2, 0.9, 1))

_ROCK2 = {"kick": "X..x..x.X.x.....", "snare": "....X..o.o..X...", "hat": "X.x.X.x.X.x.X.x."}
_ROCK3 = {"kick": "X.x...x.X..x..x.", "snare": "....X.......X..o", "ride": "X.x.X.x.X.x.X.x."}
_PUNK = {"kick": "X.x...x.X.x...x.", "snare": "..X...X...X...X.", "open": "X.X.X.X.X.X.X.X."}
_METAL = {"kick": "XxxxXxxxXxxxXxxx", "snare": "....X.......X...", "crash2": "X...X...X...X..."}
_POP2 = {"kick": "X.....x.X.x.....", "snare": "....X.......X...", "clap": "....x.......x...", "hat": "x.x.x.xxx.x.x.x."}
_HOUSE = {"kick": "X...X...X...X...", "clap": "....X.......X...", "open": "..X...X...X...X.", "hat": "xoxoxoxoxoxoxoxo"}
_TRAP = {"kick": "X.....x...x.....", "clap": "........X.......", "hat": "x.x.x.xxx.x.xxxx", "rim": "...x......x....."}
_BOOM = {"kick": "X..x......Xx....", "snare": "....X.......X..o", "hat": "x.x.x.x.x.x.x.xo"}
_FUNKY = {"kick": "X.x....x..x..x..", "snare": "....X.oo.o..X.o.", "hat": "XxxxXxxxXxxxXxox"}
_DISCO = {
    "kick": "X...X...X...X...",
    "snare": "....X.......X...",
    "hat": "x.o.x.o.x.o.x.o.",
    "open": "..x...x...x...x.",
}
_DROP = {"kick": "........X.......", "rim": "........X.......", "hat": "x.xxx.x.x.xxx.x."}
_SWING = {"kick": "x...x...x...x...", "pedal": "....X.......X...", "ride": "X...X.x.X...X.x."}
_SHUFFLE = {"kick": "X.....x.X.......", "snare": "....X.......X..o", "ride": "X.x.X.x.X.x.X.x."}
_TRAIN = {"kick": "X...X...X...X...", "snare": "ooXoooXoooXoooXo"}
_FOLK = {"kick": "X.......X.......", "shaker": "xoxoxoxoxoxoxoxo", "tambourine": "....x.......x..."}
_LATIN = {
    "kick": "X..xX..xX..xX..x",
    "rim": "x..x..x...x.x...",
    "shaker": "xoxoxoxoxoxoxoxo",
    "conga": "..x...xx..x...xx",
}
_WALTZ_1 = {"kick": "X...........", "rim": "....x...x...", "hat": "x...x...x..."}
_WALTZ_2 = {"kick": "X.........x.", "snare": "....x...x...", "ride": "X...x.x.x.x."}
_SIX = {"kick": "X.....x.....", "snare": "......X....o", "hat": "x.x.x.x.x.x."}
_CINEMA = {"kick": "X.......x.......", "tom_low": "X..x..x.X..x..xx", "crash2": "................"}

_PIANOS, _EPIANOS, _ORGANS = (0, 1, 2, 3), (4, 5, 7), (16, 17, 18, 19)
_PADS, _STRINGS, _BRASS = (88, 89, 90, 92, 94, 95), (48, 49, 50, 51), (61, 62, 63)
_BASSES, _SYNTH_BASSES = (33, 34, 33, 35), (38, 39)
_LEADS = (80, 81, 84, 87)

_ACOUSTIC = Player("acoustic guitar", (24, 25), (_STRUM, *_BROKEN), 0.8)
_CLEAN = Player("clean guitar", (26, 27), (*_BROKEN, *_STRUCK), 0.7, -1)
_CRUNCH = Player("distorted guitar", (29, 30), (_EIGHTHS, _PUSH, _WHOLE), 1.0, 1)
_PIANO = Player("keys", _PIANOS, (*_STRUCK, *_BROKEN, _PUSH, _HALVES), 0.7)
_PAD = Player("pad", _PADS, (), 0.6, -4)
_ENSEMBLE = Player("strings", _STRINGS, (), 0.5, -3)

STYLES: dict[str, Style] = {
    "rock": Style(
        (96, 148),
        (GROOVES["rock"], _ROCK2, _ROCK3),
        (BASS_LINES[2], _PUMP, _PUMP),
        _BASSES,
        (_CRUNCH, _CLEAN, Player("keys", (*_ORGANS, *_PIANOS), (_WHOLE, _HALVES, _PUSH), 0.5, -3)),
        (29, 30, 27),
        swings=(0.0, 0.0, 0.06),
    ),
    "punk": Style(
        (150, 190),
        (_ROCK2, _PUNK),
        (_PUMP,),
        (34, 33),
        (Player("distorted guitar", (29, 30), (_EIGHTHS,), 1.0, 2),),
        (30, 29),
        ("major", "minor"),
    ),
    "metal": Style(
        (100, 170),
        (_ROCK2, _METAL),
        (_PUMP,),
        (34,),
        (Player("distorted guitar", (30,), (_CHUGS, _EIGHTHS), 1.0, 2), Player("strings", _STRINGS, (), 0.3, -6)),
        (30, 29),
        ("minor", "dorian"),
    ),
    "pop": Style(
        (88, 128),
        (GROOVES["rock"], _POP2, _POP2),
        (BASS_LINES[0], BASS_LINES[2], _PUMP),
        (33, 38, 39),
        (_PIANO, _CLEAN, _PAD, Player("pluck", (11, 12, 98, 80, 81), (_ARP16, *_BROKEN), 0.5, -4)),
        (81, 27, 66, 80),
        kit="any",
    ),
    "ballad": Style(
        (58, 82),
        (GROOVES["ballad"], GROOVES["half"], GROOVES["rock"]),
        (BASS_LINES[0], BASS_LINES[2]),
        (32, 33, 35),
        (Player("keys", _PIANOS, (*_BROKEN, _HALVES), 1.0, 1), _ACOUSTIC, _ENSEMBLE, _PAD),
        (65, 71, 73, 27),
    ),
    "power ballad": Style(
        (64, 88),
        (GROOVES["ballad"], _ROCK2, _ROCK2),
        (BASS_LINES[0], _PUMP),
        _BASSES,
        (_PIANO, Player("distorted guitar", (29, 30), (_WHOLE, _PUSH), 0.9), _ENSEMBLE),
        (30, 29),
        ("major", "minor"),
    ),
    "folk": Style(
        (80, 132),
        (_FOLK, _FOLK),
        (BASS_LINES[0], BASS_LINES[2]),
        (32,),
        (
            Player("acoustic guitar", (24, 25), (_STRUM, *_BROKEN), 1.0, 1),
            Player("acoustic guitar", (105, 24), _BROKEN, 0.5),
            Player("strings", (40, 110), (), 0.3, -4),
        ),
        (22, 40, 73, 21),
        ("major", "mixolydian", "dorian"),
        (0.0, 0.08),
    ),
    "country": Style(
        (92, 136),
        (_TRAIN, GROOVES["rock"], _ROCK2),
        (BASS_LINES[4], BASS_LINES[2]),
        (32, 33),
        (_ACOUSTIC, Player("clean guitar", (27, 26), (*_BROKEN, *_STRUCK)), Player("keys", (0, 3, 17), _STRUCK, 0.5)),
        (27, 110, 22),
        ("major", "mixolydian"),
        (0.0, 0.1),
    ),
    "funk": Style(
        (92, 118),
        (_FUNKY, _FUNKY),
        (_SLAP, BASS_LINES[3]),
        (36, 37, 33),
        (
            Player("clean guitar", (27, 28), (_FUNK,)),
            Player("keys", (*_EPIANOS, 16), (_FUNK, *_STRUCK), 0.8),
            Player("brass", _BRASS, (_CHARLESTON, _FUNK), 0.6),
        ),
        (65, 66, 56),
        ("dorian", "mixolydian"),
        (0.0, 0.05),
        sevenths=0.8,
    ),
    "disco": Style(
        (108, 126),
        (GROOVES["four"], _DISCO),
        (_OCTAVES,),
        (33, 38),
        (
            Player("clean guitar", (27, 28), (_FUNK, *_STRUCK)),
            _PIANO,
            Player("strings", _STRINGS, (), 0.8, -2),
            Player("brass", _BRASS, (_CHARLESTON,), 0.4),
        ),
        (65, 80),
        ("minor", "dorian", "major"),
        sevenths=0.5,
    ),
    "house": Style(
        (118, 130),
        (GROOVES["four"], _HOUSE),
        (_OCTAVES, BASS_LINES[3]),
        _SYNTH_BASSES,
        (Player("keys", (0, 2, 5, 62), (*_STRUCK, _PUSH)), _PAD, Player("pluck", _LEADS, (_ARP16,), 0.7, -3)),
        _LEADS,
        ("minor", "dorian"),
        kit="electronic",
        machine=True,
        sevenths=0.6,
    ),
    "synth pop": Style(
        (96, 136),
        (_POP2, _HOUSE),
        (_PUMP, _OCTAVES),
        _SYNTH_BASSES,
        (
            Player("pluck", (*_LEADS, 38, 87), (_ARP16, *_BROKEN)),
            _PAD,
            Player("brass", (62, 63), (_PUSH, _HALVES), 0.5),
        ),
        _LEADS,
        ("minor", "major"),
        kit="electronic",
        machine=True,
    ),
    "hip hop": Style(
        (80, 102),
        (_BOOM, _BOOM),
        (_SUB, BASS_LINES[0]),
        (33, 38, 39),
        (Player("keys", (*_EPIANOS, 0), (_CHARLESTON, _WHOLE, *_BROKEN)), _PAD, Player("strings", (48, 45), (), 0.3)),
        (73, 66, 11),
        ("minor", "dorian"),
        (0.0, 0.06, 0.12),
        kit="any",
        machine=True,
        rap=0.6,
        sevenths=0.7,
    ),
    "trap": Style(
        (64, 80),
        (_TRAP,),
        (_SUB, _LOW),
        (38, 39),
        (Player("pluck", (10, 12, 14, 88), (*_BROKEN, _ARP16)), _PAD),
        (80, 73),
        ("minor",),
        kit="electronic",
        machine=True,
        rap=0.4,
    ),
    "reggae": Style(
        (68, 92),
        (_DROP, _DROP),
        (_ONE_DROP, BASS_LINES[0]),
        (33, 32),
        (
            Player("clean guitar", (27, 28), (_SKANK,)),
            Player("keys", (16, 17, 0), (_SKANK,)),
            Player("brass", _BRASS, (_HALVES,), 0.4),
        ),
        (59, 22, 66),
        ("major", "minor", "mixolydian"),
        (0.0, 0.1),
    ),
    "bossa": Style(
        (104, 148),
        (GROOVES["bossa"], _LATIN),
        (_TUMBAO,),
        (32, 35),
        (
            Player("acoustic guitar", (24,), (_BOSSA,)),
            Player("keys", (*_EPIANOS, 0), (_BOSSA, _CHARLESTON), 0.6),
            _ENSEMBLE,
        ),
        (73, 66, 11),
        sevenths=0.9,
    ),
    "latin": Style(
        (92, 126),
        (_LATIN, _LATIN),
        (_TUMBAO,),
        (32, 33),
        (Player("keys", (0, 1), (_FUNK, *_STRUCK)), Player("brass", (56, 61), (_CHARLESTON, _FUNK), 0.8), _ACOUSTIC),
        (56, 66, 0),
        ("minor", "dorian", "major"),
        sevenths=0.5,
    ),
    "jazz": Style(
        (96, 176),
        (_SWING, _SWING),
        (_WALK,),
        (32,),
        (
            Player("keys", (0, 4, 16), (_CHARLESTON, *_STRUCK)),
            Player("clean guitar", (26,), (_CHARLESTON, _HALVES), 0.5),
        ),
        (65, 66, 56, 11),
        swings=(0.16,),
        sevenths=1.0,
    ),
    "blues": Style(
        (72, 124),
        (_SHUFFLE, _SHUFFLE),
        (_WALK, BASS_LINES[4]),
        (32, 33),
        (Player("clean guitar", (26, 27, 29), (*_STRUCK, *_BROKEN)), Player("keys", (0, 3, 17), _STRUCK, 0.7)),
        (27, 29, 22),
        ("mixolydian", "dorian"),
        (0.16,),
        sevenths=0.9,
    ),
    "soul": Style(
        (62, 104),
        (_SIX, _SIX),
        (_TRIPLE_WALK, _TRIPLE),
        (33, 32),
        (
            Player("keys", (*_EPIANOS, *_ORGANS, 0), (_WALTZ_BROKEN, _WALTZ)),
            Player("clean guitar", (26, 27), (_WALTZ_BROKEN,), 0.7),
            Player("brass", _BRASS, (((0, 2.8, None),),), 0.5),
            _ENSEMBLE,
        ),
        (66, 27, 17),
        beats=3,
        sevenths=0.5,
    ),
    "waltz": Style(
        (84, 150),
        (_WALTZ_1, _WALTZ_2),
        (_TRIPLE, _TRIPLE_WALK),
        (32, 33),
        (
            Player("keys", (0, 21, 3), (_WALTZ, _WALTZ_BROKEN)),
            Player("acoustic guitar", (24, 25), (_WALTZ, _WALTZ_BROKEN), 0.7),
            _ENSEMBLE,
        ),
        (40, 21, 71),
        ("major", "minor", "dorian"),
        beats=3,
    ),
    "cinematic": Style(
        (64, 110),
        (_CINEMA, _CINEMA),
        (_LOW, BASS_LINES[0]),
        (43, 32, 48),
        (
            Player("strings", (48, 49), (), 1.0, 2),
            Player("brass", (60, 61), (_WHOLE, _HALVES), 0.7),
            Player("keys", (0, 46), _BROKEN, 0.7),
            Player("pluck", (45, 47), (*_BROKEN,), 0.4),
        ),
        (40, 60, 68, 73),
        ("minor", "dorian"),
    ),
    "songwriter": Style(
        (66, 112),
        (),
        (BASS_LINES[0],),
        (32,),
        (
            Player("acoustic guitar", (24, 25), (_STRUM, *_BROKEN), 0.7, 2),
            Player("keys", (0, 1), (*_BROKEN, _HALVES), 0.5, 2),
            Player("strings", (42, 48), (), 0.3, -3),
        ),
        (73, 40, 24),
        kit="none",
    ),
}
