"""`Profile`: what only a build knows - its configuration and the sizes that its compiler settled.

A profile is a YAML file: `name`, `arch`, `release`, `uname` (as uname -r has it), `config` (CONFIG_ options without
the prefix: true, false, a number or a word), `config_of` (the profile of another build whose configuration that is),
`sizes` (bytes), `image` (bytes from _text) and `shown` (facts of releases that the image proves or disproves). Those
of this package lie in profiles/.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field, replace
from functools import cache
from typing import Any

from mmtool.build.shape import IMAGE_SHAPE, SHOWN_SHAPE, SIZES_SHAPE, options_shape
from mmtool.errors import InputError, UsageError
from mmtool.late import dataclass
from mmtool.regex import regex
from mmtool.shape import ShapeError

Option = bool | int | str

# Debian's names: 6.1.0-50-cloud-amd64, 6.12.117+deb12-cloud-amd64, 6.1.0-50-686-pae.
_DEBIAN = regex(r"(\d{1,9}\.\d{1,9})\.\d+(?:-\d+|\+deb\d+\S*?)-((?:cloud-)?(?:amd64|arm64(?:-16k)?|686(?:-pae)?))$")

GENERIC = {"x86_64": "generic-x86_64", "i386": "generic-i386", "arm64": "generic-arm64"}
"""Architecture -> the profile that stands in where nothing is known of a build; its sizes are estimates."""

_SHIPPED = os.path.join(os.path.dirname(__file__), "profiles")

# Of every build: a profile without them was made from less than the kernel's image.
_TOLD = ("struct_page", "resource", "percpu_static")


@dataclass(frozen=True)
class Profile:
    """One build of a kernel.

    `config` maps CONFIG_ names (without the prefix) to their values, `sizes` names of the kernel's objects to bytes,
    `image` the linker script's marks (etext, init_begin, bss_start, end, ...) to bytes from _text.
    `exact` says that the kernel at hand is this very build or one of the same configuration; otherwise
    sizes are estimates.
    """

    name: str
    arch: str
    release: str
    config: Mapping[str, Option] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    image: Mapping[str, int] = field(default_factory=dict)
    exact: bool = True
    uname: str | None = None
    """The name of the very kernel that it was made from, as uname -r has it."""
    shown: Mapping[str, bool] = field(default_factory=dict)
    """Facts of releases that its image proves or disproves, whatever its release."""
    config_of: str | None = None
    """The profile whose configuration stands in for its own, which was not at hand."""

    def enabled(self, option: str) -> bool:
        """Is CONFIG_<option> set?"""
        return bool(self.config.get(option, False))

    def nearest(self, changes: Mapping[str, Option]) -> Profile:
        """This profile as a stand-in for a build like it whose configuration differs by `changes`."""
        return replace(self, config={**self.config, **changes}, exact=False)


def available() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(name.removesuffix(".yaml") for name in os.listdir(_SHIPPED) if name.endswith(".yaml"))


@cache
def load_profile(name: str) -> Profile:
    """A profile that comes with the package; UsageError with the list of names when there is none such."""
    return _shipped(profile_text(name), f"{name}.yaml")


def _shipped(text: str, source: str) -> Profile:
    """A profile of the package, which has one fact a line (`report.profile.to_yaml`) and needs no YAML parser for that.

    PyYAML takes ten times as long to be loaded as the model to boot; a test holds both to the same answer.
    """
    document: dict[str, Any] = {}
    section = document
    for line in text.splitlines():
        name, _, value = line.partition(":")
        value = value.split(" #")[0].strip()
        if not name or name.startswith("#"):
            continue
        if not name.startswith(" "):
            section = document
            if not value:
                section = document[name] = {}
                continue
        section[name.strip()] = _scalar(value)
    return _checked(document, source)


def _scalar(value: str) -> Option:
    if value in ("true", "false"):
        return value == "true"
    if value[:1] == '"':
        return value[1:-1]
    return int(value, 0) if value[:1].isdigit() or value[:1] == "-" else value


def profile_text(name: str) -> str:
    """The YAML text of a profile that comes with the package; UsageError as for `load_profile`."""
    if name not in available():
        raise UsageError(f"no profile named {name!r}; there are: {', '.join(available())}")
    with open(_file_of(name)) as file:
        return file.read()


def _file_of(name: str) -> str:
    return os.path.join(_SHIPPED, f"{name}.yaml")


MOST_CHARACTERS = 1 << 18
"""Of a profile, which says a few hundred things of a build."""


def read_profile(path: str) -> Profile:
    """A profile file of the user's, estimates in place of sizes it lacks; InputError with the line when it is none."""
    try:
        with open(path) as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "is not text"
        raise InputError(path, None, f"{reason}; give a YAML profile") from None
    return parse_profile(text, path)


def parse_profile(text: str, source: str) -> Profile:
    """A profile's text, estimates in place of sizes that it lacks; InputError with the line when it is none."""
    return with_estimates(_parse(text, source))


def with_estimates(profile: Profile) -> Profile:
    """The profile with the generic one's numbers where it has none."""
    generic = load_profile(GENERIC[profile.arch])
    return replace(
        profile,
        sizes={**generic.sizes, **profile.sizes},
        image=profile.image or generic.image,
        exact=profile.exact and all(name in profile.sizes for name in _TOLD),
    )


def _parse(text: str, source: str) -> Profile:
    if len(text) > MOST_CHARACTERS:
        raise InputError(source, None, f"has {len(text)} characters; a profile has some thousand")
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else None
        raise InputError(source, line, f"not YAML: {e.problem}") from None
    except yaml.YAMLError as e:
        raise InputError(source, None, f"not YAML: {' '.join(str(e).split())}") from None
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as e:
        # What PyYAML makes of a bad date, a tag on a value that it does not fit, a nesting of thousands.
        raise InputError(source, None, f"not YAML that can be read: {type(e).__name__}") from None
    return _checked(document, source)


def _checked(document: object, source: str) -> Profile:
    """The profile in a document; InputError for what is none."""
    if not isinstance(document, dict):
        raise InputError(source, None, "a profile is a mapping with name, arch, release, config and sizes")
    for key in ("name", "arch", "release"):
        if not isinstance(document.get(key), str):
            raise InputError(source, None, f"a profile needs {key!r}, as text")
    if document["arch"] not in GENERIC:
        known = ", ".join(GENERIC)
        raise InputError(source, None, f"arch: Linux on {document['arch']!r} is not modelled; there are: {known}")
    config, sizes, image, shown = (document.get(key) or {} for key in ("config", "sizes", "image", "shown"))
    for key, value, shape in (
        ("config", config, options_shape), ("sizes", sizes, SIZES_SHAPE), ("image", image, IMAGE_SHAPE),
        ("shown", shown, SHOWN_SHAPE),
    ):  # fmt: skip
        try:
            shape(value, key)
        except ShapeError as e:
            raise InputError(source, None, str(e)) from None
    uname = document.get("uname")
    if uname is not None and not isinstance(uname, str):
        raise InputError(source, None, "'uname' is text, as uname -r prints it")
    config_of = document.get("config_of")
    if config_of is not None and not isinstance(config_of, str):
        raise InputError(source, None, "'config_of' is text, the name of the profile that the configuration is of")
    return Profile(
        document["name"], document["arch"], document["release"], config, sizes, image,
        uname=uname, shown=shown, config_of=config_of,
    )  # fmt: skip


LONGEST_NAME = 100
"""Letters of a profile's name; what a hostile release gives may be no name of a file at all."""


def profile_name(release: str) -> str | None:
    """The package's profile for a kernel of this release name, if there is one for its very configuration."""
    name = debian_name(release)
    return name if name is not None and len(name) <= LONGEST_NAME and os.path.isfile(_file_of(name)) else None


def debian_name(release: str) -> str | None:
    """How a profile of Debian's kernel of this release name is called; None for another's kernel."""
    m = _DEBIAN.match(release)
    return f"debian-{m[1]}-{m[2]}" if m is not None else None
