"""The readers of kernel images, on images that the tests make, whole and damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import images

from mmtool.build.image.btf import find, read_btf
from mmtool.build.image.kallsyms import read_kallsyms
from mmtool.build.image.read import KernelImage, read_image
from mmtool.build.image.unpack import unpack
from mmtool.errors import InputError

TEXT = 0xFFFFFFFF81000000
BANNER = b"Linux version 6.1.0-50-cloud-amd64 (maker) (gcc) #1 SMP Debian 6.1.176-1 (2026-07-02)\n\0"
SYMBOLS = {f"function_{i}": TEXT + 16 * i for i in range(600)} | {"_text": TEXT, "_end": TEXT + 0x9000}
STRUCTURES = {"page": 64, "resource": 64, "pglist_data": 174208}


def vmlinux(symbols: bytes = b"", *, bits: int = 64) -> bytes:
    text = TEXT if bits == 64 else 0xC1000000
    sections: list[tuple[str, int, bytes | int]] = [
        (".text", text, bytes(0x800)),
        (".rodata", text + 0x1000, BANNER.ljust(0x200, b"\0") + symbols),
        (".BTF", text + 0x20000, images.btf(STRUCTURES)),
        (".data", text + 0x30000, bytes(0x123)),
        (".init.text", text + 0x32000, bytes(0x500)),
        (".init.data", text + 0x33000, images.real_mode_code(0x2100)),
        (".data..percpu", text + 0x36000, bytes(0x1100)),
        (".smp_locks", text + 0x38000, bytes(0x1000)),
        (".bss", text + 0x39000, 0x4000),
        (".brk", text + 0x3D000, 0x10800),
    ]
    return images.elf(sections, bits=bits)


def arm64() -> bytes:
    names = {"_stext": 0x10000, "_etext": 0x20000, "__init_begin": 0x30000}
    table = images.Symbols({f"f{i}": 0x10000 + 4 * i for i in range(20)} | names)
    content = BANNER + b"9" * 16 + images.btf(STRUCTURES, {".data..percpu": 85864})
    content += bytes(-len(content) % 8) + table.old(0)
    return images.arm64_image(content, image_size=0x90000, text=0x10000, data=0x40000, data_size=0x1200)


@pytest.mark.parametrize("bits", [32, 64])
def test_sections_tell_places_sizes_and_release(bits: int) -> None:
    image = read_image(vmlinux(bits=bits), "vmlinux")
    assert image.arch == ("x86_64" if bits == 64 else "i386")
    assert image.release == "6.1.0-50-cloud-amd64" and "Debian 6.1.176-1" in image.banner
    assert image.structures == STRUCTURES
    assert (image.percpu_static, image.real_mode_blob) == (0x1100, 0x3000)
    assert image.places == {
        "stext": 0,
        "etext": 0x800,
        "start_rodata": 0x1000,
        "end_rodata": 0x21000,
        "sinittext": 0x32000,
        "einittext": 0x32500,
        "init_begin": 0x32000,
        "init_end": 0x38000,
        "smp_locks": 0x38000,
        "smp_locks_end": 0x39000,
        "sdata": 0x30000,
        "edata": 0x30123,
        "bss_start": 0x39000,
        "bss_stop": 0x3D000,
        "end_of_kernel_reserve": 0x3D000,
        "brk_base": 0x3D000,
        "brk_limit": 0x4D800,
        "end": 0x4E000,
    }


def test_symbols_go_before_sections() -> None:
    image = read_image(vmlinux(images.Symbols(SYMBOLS).old(TEXT)), "vmlinux")
    assert image.symbols == SYMBOLS
    assert image.places["end"] == 0x9000


@pytest.mark.parametrize("layout", ["old", "percpu", "from_place"])
def test_symbol_table_of_every_layout(layout: str) -> None:
    symbols = {**SYMBOLS, "a_rather_long_name_" * 8: TEXT + 0x8888}
    if layout == "percpu":
        symbols |= {"__per_cpu_start": 0, "__per_cpu_end": 0x34000}
    table = getattr(images.Symbols(symbols), layout)(TEXT)
    assert read_kallsyms(table, TEXT, 64) == symbols
    before = b"some 0\x001\x002\0 other data".ljust(32, b"\0")
    assert read_kallsyms(before + table, TEXT - len(before), 64) == symbols


def test_arm64_header_and_types_tell_what_symbols_leave_out() -> None:
    image = read_image(arm64(), "Image")
    assert image.arch == "arm64" and image.structures == STRUCTURES and image.percpu_static == 85864
    assert image.places == {
        "stext": 0x10000,
        "etext": 0x20000,
        "init_begin": 0x30000,
        "initdata_begin": 0x40000,
        "edata": 0x41200,
        "end": 0x90000,
    }


PACKED = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "lz4": lambda data: images.lz4(b"A" * 20 + data),
    "zstd": lambda data: subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout,
    "nothing": lambda data: data,
}


@pytest.mark.parametrize("how", sorted(PACKED))
def test_payload_packed(how: str) -> None:
    if how == "zstd" and shutil.which("zstd") is None:
        pytest.skip("no zstd program")
    kernel = vmlinux()
    if how == "lz4":  # Its test frame begins with twenty equal bytes, so that it holds a copy.
        from mmtool.build.image.compress import decompress

        assert decompress(PACKED[how](kernel), "x") == b"A" * 20 + kernel
        return
    packed = images.bzimage(PACKED[how](kernel) + b"\x12\x34\x56\x78")
    assert read_image(packed, "vmlinuz") == read_image(kernel, "vmlinuz")


def test_image_compressed_as_a_whole_and_as_efi_program() -> None:
    kernel = arm64()
    assert read_image(gzip.compress(kernel), "Image.gz") == read_image(kernel, "Image")
    payload = gzip.compress(kernel)
    head = b"MZ\0\0zimg" + (64).to_bytes(4, "little") + len(payload).to_bytes(4, "little") + bytes(8) + b"gzip"
    assert read_image(head.ljust(64, b"\0") + payload, "vmlinuz.efi") == read_image(kernel, "Image")


def test_without_zstd_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    frame = b"\x28\xb5\x2f\xfd\x20\x01\x09\x00\x00A"
    with pytest.raises(InputError, match="install the program zstd or decompress it first"):
        unpack(images.bzimage(frame), "vmlinuz")


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"hello", bytes(4096), images.bzimage(b""), b"\x1f\x8b\x08"])
def test_what_is_no_kernel_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_image(data, "file")


def test_type_information_is_found_in_an_image() -> None:
    types = images.btf(STRUCTURES)
    assert find(b"\x9f\xeb\x01\0" + bytes(50) + types + bytes(9)) == types
    assert find(bytes(100)) is None
    with pytest.raises(InputError, match="kind 31"):
        read_btf(types.replace((4 << 24 | 1).to_bytes(4, "little"), (31 << 24).to_bytes(4, "little"), 1), "x")


WHOLE = {
    "elf": vmlinux(images.Symbols(SYMBOLS).old(TEXT)),
    "elf32": vmlinux(bits=32),
    "arm64": arm64(),
    "bzimage": images.bzimage(gzip.compress(vmlinux())),
    "lz4": images.lz4(b"A" * 20 + vmlinux()),
    "btf": images.btf(STRUCTURES),
}


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(sorted(WHOLE)))
def test_damaged_images_are_read_or_refused(data: st.DataObject, kind: str) -> None:
    whole = WHOLE[kind]
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            near = st.integers(0, min(len(damaged), 256) - 1)
            at = data.draw(st.integers(0, len(damaged) - 1) | near)
            damaged[at] = data.draw(st.integers(0, 255))
    try:
        if kind == "btf":
            read_btf(bytes(damaged), "file")
        else:
            assert isinstance(read_image(bytes(damaged), "file"), KernelImage)
    except InputError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from([32, 64]))
def test_noise_around_a_symbol_table_does_no_harm(noise: bytes, bits: int) -> None:
    table = images.Symbols({f"symbol_{i}": i * 8 for i in range(300)})
    read_kallsyms(noise + table.tokens + table.index + noise, 0, bits)
