"""Cases of page 11: objects, roots, inner nodes, manifests, links."""

import blake3 as b3
from cases import case, flipped, seq
from umbel import *


def content():
    read = seq(32, 0x30)
    hello = b"hello, world"
    files_of_site = [("index.html", "text/html", b"<h1>hi</h1>"), ("a/b.txt", "text/plain", b""), ("a.txt", "text/plain", b"x" * 300)]
    front = manifest(files_of_site)
    site = front + b"".join(c for _, _, c in sorted(files_of_site))
    shapes = [
        ("small_file", hello, dict(mime="text/plain", name="hello.txt")),
        ("empty_file", b"", {}),
        ("directory", site, dict(kind=2, name="site", manifest=len(front))),
        ("large_root", seq(5000, 1), dict(name="n")),
        ("three_leaves", seq(150_000, 2), dict(mime="application/octet-stream", name="big")),
    ]
    for name, data, about in shapes:
        blocks = build(read, data, **about)
        fields = dict(type=1, mime="", name="", manifest=0) | {"type" if k == "kind" else k: v for k, v in about.items()}
        whole = {"root_block": blocks[0]} if len(blocks[0]) == SMALL else {}
        case("content", "object", name, "CONT-1 CONT-3 CONT-8", key=read, content=data, **fields, root=b3.blake3(blocks[0]), leaves=b"".join(map(b3.blake3, blocks[1:])), **whole)
    key = convergent_key(hello, 1, "text/plain", "hello.txt")
    case("content", "object", "convergent", "CONT-3", convergent="yes", key=key, content=hello, type=1, mime="text/plain", name="hello.txt", manifest=0,
         root=b3.blake3(build(key, hello, mime="text/plain", name="hello.txt")[0]), leaves=b"")
    good = build(read, hello)[0]
    m = lambda **change: meta(**(dict(kind=1, total=len(hello), manifest=0, sha=None, mime="", name="") | change))
    root = lambda nested, leaves=0, **more: root_block(read, SMALL, leaves, [], nested, [], **more)
    own = lambda block: dict(block=block, root=b3.blake3(block), key=read)
    bad = [
        ("changed", "CONT-20", "Tampered", dict(block=flipped(good, 2000), root=b3.blake3(good), key=read)),
        ("commitment_changed", "CONT-8", "WrongKey", own(flipped(good, 0))),
        ("wrong_key", "CONT-20", "WrongKey", dict(block=good, root=b3.blake3(good), key=seq(32))),
        ("one_byte_short", "ENC-1", "OutOfRange", own(good[:-1])),
        ("zeros_in_front_missing", "CONT-7", "NonZeroPadding", own(root(m() + hello, zeros=bytes(31) + b"\x01"))),
        ("version_2", "CONT-7", "UnknownVersion", own(root(m() + hello, version=2))),
        ("leaves_in_a_small_root", "CONT-9", "OutOfRange", own(root(m() + hello, leaves=1))),
        ("dirt_after_the_content", "CONT-6", "NonZeroPadding", own(root(m() + hello + b"\x01"))),
        ("unknown_kind", "CONT-10", "UnknownKind", own(root(m(kind=3) + hello))),
        ("file_with_a_manifest", "CONT-10", "OutOfRange", own(root(m(manifest=5) + hello))),
        ("content_too_long_for_this_shape", "CONT-10", "NotCanonical", own(root(m(total=5000) + hello))),
        ("name_with_a_slash", "CONT-11", "BadText", own(root(m(name="a/b") + hello))),
        ("name_with_a_backslash", "CONT-11", "BadText", own(root(m(name="a\\b") + hello))),
        ("name_with_a_line_end", "CONT-11", "BadText", own(root(m(name="a\nb") + hello))),
        ("name_with_a_c1_control", "CONT-11", "BadText", own(root(m(name="a\x85b") + hello))),
        ("type_with_a_line_end", "CONT-11", "BadText", own(root(m(mime="a\r\nb") + hello))),
    ]
    for name, spec, expect, fields in bad:
        case("content", "root", name, spec, expect, **fields)
    nodes(read)
    manifests()
    r, k = id_text(seq(32, 1)), id_text(seq(32, 2))
    for name, text in [("link", f"umbel:{r}/{k}"), ("link_upper", f"UMBEL:{r.upper()}/{k.upper()}"), ("url", f"http://{k}.{r}.umbel/")]:
        case("content", "link", name, "CONT-4", text=text, link_root=seq(32, 1), link_key=seq(32, 2), canonical=f"umbel:{r}/{k}", host=f"{k}.{r}.umbel",
             verify_link=f"umbel-verify:{r}/{id_text(verify_key(seq(32, 2)))}", locator=derive("umbel 1 block locator", seq(32, 1)))
    for name, expect, text in [
        ("link_wrong_scheme", "WrongScheme", f"http://{r}/{k}"), ("link_verify_only", "VerifyOnly", f"umbel-verify:{r}/{k}"),
        ("link_cut", "CutOff(Key)", f"umbel:{r}/{k[:51]}"), ("link_without_key", "CutOff(Key)", f"umbel:{r}"), ("link_root_cut", "CutOff(Root)", f"umbel:{r[:9]}/{k}"),
        ("link_long", "TooLong(Key)", f"umbel:{r}/{k}a"), ("link_mistyped", "Mistyped(Root)", f"umbel:{r[:51]}1/{k}"),
    ]:
        case("content", "link", name, "CONT-5", expect, text=text)


def nodes(read):
    """Inner nodes: the keys' numbers count nodes from 0."""
    leaves = [seq(32, 10 * i) for i in range(3)]
    for number in (0, 1):
        block = node_block(read, number, leaves)
        case("content", "node", f"number_{number}", "CONT-3", key=read, number=number, leaves=b"".join(leaves), address=b3.blake3(block))
    one_more = node_block(read, 0, leaves)
    case("content", "node", "dirt_after_the_addresses", "CONT-6", "NonZeroPadding", key=read, number=0, leaves=b"".join(leaves[:2]), block=one_more)


def manifests():
    entry = lambda path, mime, size: len16(path if isinstance(path, bytes) else path.encode()) + len8(mime.encode()) + u64(size)
    whole = lambda *entries, version=1, count=None: u8(version) + u32(len(entries) if count is None else count) + b"".join(entries)
    a, b = entry("a", "text/plain", 5), entry("b/c", "", 7)
    good = [
        ("two_files", [("a", 5), ("b/c", 7)], whole(a, b)),
        ("no_file", [], whole()),
        ("order_is_by_bytes", [("a-b", 1), ("a.txt", 2), ("a0", 3)], whole(entry("a-b", "", 1), entry("a.txt", "", 2), entry("a0", "", 3))),
        ("longest_component", [("x" * 255 + "/y", 1)], whole(entry("x" * 255 + "/y", "", 1))),
        ("text_of_any_script", [("größe ё.txt", 1)], whole(entry("größe ё.txt", "", 1))),
        ("three_dots", [("...", 1)], whole(entry("...", "", 1))),
        ("controls_and_a_backslash", [("a\n\x7f\x85", 1), ("a\\b", 1)], whole(entry("a\n\x7f\x85", "", 1), entry("a\\b", "", 1))),
        ("empty_folder", [("a/b/", 0), ("a/c", 1)], whole(entry("a/b/", "", 0), entry("a/c", "", 1))),
    ]
    for name, files_, raw in good:
        case("content", "manifest", name, "CONT-12", manifest=raw, total=len(raw) + sum(n for _, n in files_), files=" ".join(f"{n}" for _, n in files_),
             paths=b"".join(len16(p.encode()) for p, _ in files_))
    bad = [
        ("version_2", "CONT-12", "UnknownVersion", whole(a, b, version=2)),
        ("too_many_files", "CONT-12", "OutOfRange", whole(a, b, count=65_537)),
        ("count_too_large", "CONT-12", "Truncated", whole(a, b, count=3)),
        ("count_too_small", "CONT-12", "TrailingBytes", whole(a, b, count=1)),
        ("not_sorted", "CONT-12", "NotCanonical", whole(b, a)),
        ("path_twice", "CONT-12", "NotCanonical", whole(a, a)),
        ("file_and_directory", "CONT-12", "NotCanonical", whole(a, entry("a/b", "", 1))),
        ("file_and_directory_apart", "CONT-12", "NotCanonical", whole(a, entry("a-b", "", 1), entry("a/b", "", 1))),
        ("total_too_large", "CONT-12", "OutOfRange", whole(entry("a", "", 2**30))),
        ("mime_with_a_line_end", "CONT-11", "BadText", whole(entry("a", "a\r\nb", 1))),
        ("mime_too_long", "CONT-11", "BadText", whole(entry("a", "m" * 128, 1))),
        ("path_too_long", "CONT-11", "OutOfRange", whole(entry("x" * 200 + ("/" + "x" * 200) * 5, "", 1))),
        ("empty_folder_with_a_length", "CONT-34", "BadText", whole(entry("a/", "", 1))),
        ("empty_folder_with_a_type", "CONT-34", "BadText", whole(entry("a/", "text/plain", 0))),
        ("empty_folder_with_a_file", "CONT-34", "NotCanonical", whole(entry("a/", "", 0), entry("a/b", "", 1))),
        ("file_and_empty_folder", "CONT-12", "NotCanonical", whole(entry("a", "", 1), entry("a/", "", 0))),
        ("empty_folder_without_a_name", "CONT-11", "BadText", whole(entry("/", "", 0))),
        ("path_not_utf8", "CONT-11", "BadText", whole(entry(b"a\xff", "", 1))),
    ] + [(f"path_{name}", "CONT-11", "BadText", whole(entry(path, "", 1))) for name, path in [
        ("empty", ""), ("absolute", "/a"), ("ends_in_two_slashes", "a//"), ("empty_component", "a//b"), ("dot", "a/."), ("two_dots", "../a"),
        ("nul", "a\0b"), ("component_of_256", "x" * 256)]]
    # The total is right, so that a case has one fault.
    files = dict(version_2=12, too_many_files=12, count_too_large=12, count_too_small=12, not_sorted=12, path_twice=10,
                 file_and_directory=6, file_and_directory_apart=7, total_too_large=2**30, empty_folder_with_a_type=0, empty_folder_without_a_name=0)
    for name, spec, expect, raw in bad:
        case("content", "manifest", name, spec, expect, manifest=raw, total=len(raw) + files.get(name, 1))
    case("content", "manifest", "bytes_in_no_file", "CONT-12", "NotCanonical", manifest=whole(a, b), total=len(whole(a, b)) + 13)
