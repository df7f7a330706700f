"""The public parameter names and ours, in both directions: a table of patterns and nothing else.

Public names are those of the released Mel-Band-RoFormer and BS-RoFormer weights and of the paper's student.
``rotary_embed.freqs`` has no counterpart here: it is a constant, checked on reading and written on request.
"""

import re

_BLOCK = r"layers\.(\d+)\.{axis}\.layers\.(\d+)\."
_PATTERNS: list[tuple[str, str]] = [
    (r"band_split\.to_features\.(\d+)\.0\.gamma", r"band_split.norms.\1.gamma"),
    (r"band_split\.to_features\.(\d+)\.1\.(weight|bias)", r"band_split.linears.\1.\2"),
    (
        r"mask_estimators\.(\d+)\.to_freqs\.(\d+)\.0\.(\d+)\.(weight|bias)",
        r"mask_estimators.\1.mlps.\2.\3.\4",
    ),
    (r"final_norm\.gamma", r"norm.gamma"),
    (r"sink_tokens", r"sinks"),
]
for _axis, _name in (("0", "time"), ("1", "frequency")):
    _block = _BLOCK.format(axis=_axis)
    _ours = rf"layers.\1.{_name}.blocks.\2"
    _PATTERNS += [
        (rf"{_block}0\.norm\.gamma", rf"{_ours}.attention.norm.gamma"),
        (rf"{_block}0\.to_qkv\.weight", rf"{_ours}.attention.to_qkv.weight"),
        (rf"{_block}0\.to_gates\.(weight|bias)", rf"{_ours}.attention.to_gates.\3"),
        (rf"{_block}0\.to_out\.0\.weight", rf"{_ours}.attention.to_out.weight"),
        (rf"{_block}1\.net\.0\.gamma", rf"{_ours}.feed_forward.0.gamma"),
        (rf"{_block}1\.net\.1\.(weight|bias)", rf"{_ours}.feed_forward.1.\3"),
        (rf"{_block}1\.net\.4\.(weight|bias)", rf"{_ours}.feed_forward.3.\3"),
        (rf"layers\.(\d+)\.{_axis}\.norm\.gamma", rf"layers.\1.{_name}.norm.gamma"),
    ]

_TO_OURS = [(re.compile(public), ours) for public, ours in _PATTERNS]


def ours_name(public: str) -> str | None:
    """Our name for a public parameter, None where there is none."""
    for pattern, ours in _TO_OURS:
        if match := pattern.fullmatch(public):
            return match.expand(ours)
    return None


def is_rotary(public: str) -> bool:
    """Whether a public name is that of the constant rotary frequencies."""
    return public.endswith(".rotary_embed.freqs")


def public_name(ours: str) -> str:
    """The public name of one of our parameters."""
    for pattern, public in _TO_PUBLIC:
        if match := pattern.fullmatch(ours):
            return match.expand(public)
    raise KeyError(ours)


def _reverse(public: str, ours: str) -> tuple[re.Pattern[str], str]:
    """Swap a pattern and its template: groups become references, references groups."""
    groups = re.findall(r"\([^)]*\)", public)
    template = public
    for number, group in enumerate(groups, start=1):
        template = template.replace(group, rf"\{number}", 1)
    pattern = re.escape(ours)
    for number, group in enumerate(groups, start=1):
        pattern = pattern.replace(re.escape(rf"\{number}"), group)
    return re.compile(pattern), template.replace(r"\.", ".")


_TO_PUBLIC = [_reverse(public, ours) for public, ours in _PATTERNS]
