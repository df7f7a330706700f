"""Words to sing: phrases drawn from small word lists, one list a language."""

import re

import numpy as np

WORDS: dict[str, str] = {
    "english": """love night light river morning shadow always never hold me under over silver burning tonight
        remember water fire falling heart away home running dancing dreams alone together summer winter rain sun
        golden window stars moon waiting stay leave tell believe nothing everything higher slowly broken open
        you we they was will can could my your the and in on to with for all when how beautiful yesterday forever
        sail street city sweet thunder whisper baby honey ocean breathe stone shine strong feeling""",
    "italian": """amore notte luna mare sole cuore vento sempre mai canta vola strada cielo stella bella vita
        dolce sogno piano mano occhi parole senza dentro domani ancora voglio sento torna resta lontano con te io
        tu per che non una sera estate pioggia fuoco silenzio ballare insieme""",
    "finnish": """yo kuu meri tuuli laulu rakas kaunis aina koskaan sydan valo talvi lumi koti tahti taivas
        aurinko vesi metsa lintu hiljaa kulkee tanssi minun sinun kanssa unta katso palaa kauas ilta aamu
        kesa virta muista odota""",
    "czech": """laska noc mesic more slunce srdce vitr vzdycky nikdy zpiva leti cesta nebe hvezda krasna zivot
        sladky sen ruka oci slova doma zitra jeste chci citim zustan daleko se mnou ty ja pro ten vecer leto
        ohen ticho tanec spolu voda""",
    "catalan": """amor nit lluna mar sol cor vent sempre mai canta vola cami cel estel bella vida dolca somni
        ulls paraules dins dema encara vull sento torna queda lluny amb tu jo per que no una tarda estiu pluja
        foc silenci ballar junts casa""",
    "japanese": """そら うみ ほし ゆめ よる あさ こころ ひかり かぜ はな あい きみ ぼく いつも ずっと とおく
        うた なみだ そばに もう いちど まち あめ つき みち て を にぎる わすれない さよなら""",
}
_VOWELS = re.compile(r"[aeiouyáéíóú]+", re.IGNORECASE)
_SMALL_KANA = "ゃゅょ"


def phrase(rng: np.random.Generator, language: str, syllables: int) -> str:
    """Words that have at least about so many syllables; spelling tells only about."""
    words: list[str] = []
    counted = 0
    choices = WORDS[language].split()
    while counted < syllables:
        words.append(str(rng.choice(choices)))
        counted += len(_VOWELS.findall(words[-1]))
    return " ".join(words)


def kana(rng: np.random.Generator, syllables: int) -> list[str]:
    """So many Japanese syllables, drawn word by word."""
    drawn: list[str] = []
    choices = WORDS["japanese"].split()
    while len(drawn) < syllables:
        for character in str(rng.choice(choices)):
            if character in _SMALL_KANA:
                drawn[-1] += character
            elif character != "っ":
                drawn.append(character)
    return drawn[:syllables]
