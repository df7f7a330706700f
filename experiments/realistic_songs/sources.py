"""The samples, voices and recordings of each split, and the packages they come from.

A source belongs to one pool: "train", "valid" or "test". Songs of the test set take nothing from the other two
pools, so that a score on them says how a model does with instruments and voices it has never heard. Validation
songs have voices of their own and share the soundfonts and kits of the training songs.
"""

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsa_lightning.errors import UserError

Pool = Literal["train", "valid", "test"]
Engine = Literal["festival", "flite", "hibari", "espeak", "sinsy"]

SHARE = Path("/usr/share")
KITS = SHARE / "hydrogen" / "data" / "drumkits"
FESTIVAL_VOICES = SHARE / "festival" / "voices"
WESNOTH = SHARE / "games" / "wesnoth" / "1.16" / "data" / "core" / "music"
NEXUIZ = SHARE / "games" / "nexuiz" / "data" / "music.pk3"
UFOAI = SHARE / "games" / "ufoai" / "base" / "0music.pk3"

# Debian package: a file that it installs.
PACKAGES: dict[str, Path] = {
    "fluidsynth": Path("/usr/bin/fluidsynth"),
    "fluid-soundfont-gm": SHARE / "sounds" / "sf2" / "FluidR3_GM.sf2",
    "musescore-general-soundfont": SHARE / "sounds" / "sf3" / "MuseScore_General_Full.sf3",
    "timgm6mb-soundfont": SHARE / "sounds" / "sf2" / "TimGM6mb.sf2",
    "csound-soundfont": SHARE / "sounds" / "sf2" / "sf_GMbank.sf2",
    "avldrums.lv2-soundfont": SHARE / "sounds" / "sf2" / "Black_Pearl_4_LV2.sf2",
    "hydrogen-drumkits": KITS,
    "flite": Path("/usr/bin/flite"),
    "espeak-ng": Path("/usr/bin/espeak-ng"),
    "festival": Path("/usr/bin/festival"),
    "festvox-kallpc16k": FESTIVAL_VOICES / "english" / "kal_diphone",
    "festvox-kdlpc16k": FESTIVAL_VOICES / "english" / "ked_diphone",
    "festvox-us-slt-hts": FESTIVAL_VOICES / "us" / "cmu_us_slt_arctic_hts",
    "festvox-italp16k": FESTIVAL_VOICES / "italian" / "lp_diphone",
    "festvox-itapc16k": FESTIVAL_VOICES / "italian" / "pc_diphone",
    "festvox-suopuhe-lj": FESTIVAL_VOICES / "finnish" / "suo_fi_lj_diphone",
    "festvox-suopuhe-mv": FESTIVAL_VOICES / "finnish" / "hy_fi_mv_diphone",
    "festvox-czech-dita": FESTIVAL_VOICES / "czech" / "czech_dita",
    "festvox-czech-krb": FESTIVAL_VOICES / "czech" / "czech_krb",
    "festvox-czech-machac": FESTIVAL_VOICES / "czech" / "czech_machac",
    "festvox-czech-ph": FESTIVAL_VOICES / "czech" / "czech_ph",
    "festvox-ca-ona-hts": FESTIVAL_VOICES / "catalan" / "upc_ca_ona_hts",
    "wesnoth-1.16-music": WESNOTH,
    "nexuiz-music": NEXUIZ,
    "ufoai-music": UFOAI,
}
MODULES = ("mido", "pedalboard", "pyworld", "hibari", "pysinsy")


@dataclass(frozen=True)
class Voice:
    """A singer.

    Attributes:
        name: unique among the voices.
        engine: the program that speaks or sings.
        speaker: the engine's name of the voice.
        language: which word list it sings.
        centre: MIDI pitch around which it sings with its own vocal tract.
        pool: the songs it may sing in.
    """

    name: str
    engine: Engine
    speaker: str
    language: str
    centre: float
    pool: Pool


VOICES = (
    Voice("kal", "festival", "kal_diphone", "english", 53, "train"),
    Voice("ked", "festival", "ked_diphone", "english", 52, "train"),
    Voice("slt", "festival", "cmu_us_slt_arctic_hts", "english", 62, "train"),
    Voice("italian man", "festival", "pc_diphone", "italian", 53, "train"),
    Voice("italian woman", "festival", "lp_diphone", "italian", 62, "train"),
    Voice("finnish man", "festival", "hy_fi_mv_diphone", "finnish", 52, "train"),
    Voice("czech woman", "festival", "czech_dita", "czech", 63, "train"),
    Voice("czech man", "festival", "czech_machac", "czech", 53, "train"),
    Voice("awb", "flite", "awb", "english", 54, "train"),
    Voice("heart", "hibari", "heart", "english", 62, "train"),
    Voice("nitech", "sinsy", "nitech_jp_song070_f001", "japanese", 65, "train"),
    Voice("espeak 1", "espeak", "en-us+m3", "english", 53, "train"),
    Voice("espeak 2", "espeak", "en-gb+f2", "english", 61, "train"),
    Voice("czech man 2", "festival", "czech_ph", "czech", 53, "valid"),
    Voice("catalan woman", "festival", "upc_ca_ona_hts", "catalan", 62, "valid"),
    Voice("rms", "flite", "rms", "english", 52, "test"),
    Voice("finnish woman", "festival", "suo_fi_lj_diphone", "finnish", 62, "test"),
    Voice("czech child", "festival", "czech_krb", "czech", 64, "test"),
)
FORMANT_POOLS: tuple[Pool, ...] = ("train",)
"""Pools in which the embedded songs' formant voice may sing."""

SOUNDFONTS: dict[Pool, tuple[Path, ...]] = {
    # MuseScore's bank is derived from Fluid's, so that both must be on one side.
    "train": (PACKAGES["fluid-soundfont-gm"], PACKAGES["musescore-general-soundfont"]),
    "valid": (PACKAGES["fluid-soundfont-gm"], PACKAGES["musescore-general-soundfont"]),
    "test": (PACKAGES["timgm6mb-soundfont"], PACKAGES["csound-soundfont"]),
}
_AVLDRUMS = PACKAGES["avldrums.lv2-soundfont"]
# The two kits of avldrums share their hi-hat, so that both must be on one side.
DRUM_SOUNDFONTS: dict[Pool, tuple[Path, ...]] = {
    "train": (_AVLDRUMS, _AVLDRUMS.with_name("Red_Zeppelin_4_LV2.sf2")),
    "valid": (_AVLDRUMS, _AVLDRUMS.with_name("Red_Zeppelin_4_LV2.sf2")),
    "test": (),
}
_TRAINED_KITS = ("BJA_Pacific", "ForzeeStereo", "Millo_MultiLayered2", "Millo-Drums_v.1", "Audiophob")
ACOUSTIC_KITS: dict[Pool, tuple[str, ...]] = {
    # The Black Pearl is recorded from the same drums as the soundfont of that name: training as well.
    "train": (*_TRAINED_KITS, "The Black Pearl 1.0"),
    "valid": _TRAINED_KITS,
    "test": ("Millo_MultiLayered3", "ColomboAcousticDrumkit"),
}
ELECTRONIC_KITS: dict[Pool, tuple[str, ...]] = {
    "train": ("HardElectro1", "ElectricEmpireKit"),
    "valid": ("HardElectro1", "ElectricEmpireKit"),
    "test": ("VariBreaks",),
}


def check_sources() -> None:
    """Refuse to start on a machine that lacks a package.

    Raises:
        UserError: names what is missing, and the commands that install it.
    """
    absent = [package for package, path in PACKAGES.items() if not path.exists()]
    modules = [module for module in MODULES if importlib.util.find_spec(module) is None]
    if absent:
        raise UserError(
            f"realistic songs need {len(absent)} more Debian package(s); "
            f"sudo apt-get install --no-install-recommends {' '.join(absent)}"
        )
    if modules:
        raise UserError(
            f"realistic songs need the Python module(s) {', '.join(modules)}; pip install 'wsa-lightning[songs]'"
        )


def program(name: str) -> str:
    """The path of a program.

    Raises:
        UserError: it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise UserError(f"{name} is not installed; sudo apt-get install {name}")
    return path


def voices(pool: Pool) -> tuple[Voice, ...]:
    """The singers of a pool."""
    return tuple(voice for voice in VOICES if voice.pool == pool)
