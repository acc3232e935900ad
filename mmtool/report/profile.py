"""A profile as the YAML that `mmtool.build.profile` reads, one line a fact."""

from __future__ import annotations

from collections.abc import Mapping

from mmtool.build.profile import Option, Profile
from mmtool.regex import regex
from mmtool.report.untrusted import one_line

_PLAIN = regex(r"[A-Za-z_][\w./+-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def to_yaml(profile: Profile, remarks: Mapping[str, str] | None = None) -> str:
    """The profile's text; `remarks` are comments behind sizes, by the size's name."""
    lines = [f"name: {_text(profile.name)}", f"arch: {_text(profile.arch)}", f"release: {_quoted(profile.release)}"]
    if profile.uname:
        lines.append(f"uname: {_quoted(profile.uname)}")
    if profile.config_of:
        lines.append(f"config_of: {_text(profile.config_of)}")
    if profile.config:
        lines += ["config:", *(f"  {name}: {_value(value)}" for name, value in profile.config.items())]
    if profile.sizes:
        lines.append("sizes:")
        for name, size in profile.sizes.items():
            remark = (remarks or {}).get(name)
            lines.append(f"  {name}: {size}" + (f"  # {remark}" if remark else ""))
    if profile.image:
        lines += ["image:", *(f"  {name}: {place:#x}" for name, place in profile.image.items())]
    if profile.shown:
        lines += ["shown:", *(f"  {name}: {_value(value)}" for name, value in profile.shown.items())]
    return "\n".join(lines)


def _value(value: Option) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:#x}" if value >= 1 << 16 else str(value)
    return _text(value)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    return '"' + one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
