"""Turn a wheel of this machine into one for many: its tag, and the list of what is in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
import zipfile
from email import message_from_string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)


def finish(wheel: Path, output: Path, arch: str, glibc: str, parts: dict[str, str]) -> Path:
    """Write a wheel with the tag manylinux and an SBOM (PEP 770), always the same bytes.

    Args:
        wheel: As it was built.
        output: The folder of the result.
        arch: The processor.
        glibc: The least version of glibc.
        parts: What is compiled in, as ``type/name@version`` of a package URL, with its licence.
    """
    platform = f"manylinux_{glibc.replace('.', '_')}_{arch}"
    with zipfile.ZipFile(wheel) as archive:
        members = {
            _module(info.filename, arch): (archive.read(info), info.external_attr)
            for info in archive.filelist
        }
    (info,) = {name.split("/")[0] for name in members if ".dist-info/" in name}
    metadata = message_from_string(members[f"{info}/METADATA"][0].decode())
    tags = re.sub(r"(?m)^(Tag: .*-).*$", rf"\g<1>{platform}", members[f"{info}/WHEEL"][0].decode())
    plain = 0o100644 << 16
    members[f"{info}/WHEEL"] = (tags.encode(), plain)
    sbom = _sbom(metadata["Name"], metadata["Version"], parts)
    members[f"{info}/sboms/{metadata['Name']}.cdx.json"] = (sbom, plain)
    del members[f"{info}/RECORD"]
    record = "".join(
        f"{name},sha256={_hash(each)},{len(each)}\n" for name, (each, _) in sorted(members.items())
    )
    members[f"{info}/RECORD"] = (f"{record}{info}/RECORD,,\n".encode(), plain)
    output.mkdir(parents=True, exist_ok=True)
    target = output / re.sub(r"-[^-]+\.whl$", f"-{platform}.whl", wheel.name)
    temporary = target.with_suffix(".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (content, attributes) in members.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = attributes
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    temporary.replace(target)
    return target


def _module(name: str, arch: str) -> str:
    """Return the name of a file, of a module's with the processor that it is for."""
    return re.sub(r"-\w+-linux-gnu\.so$", f"-{arch}-linux-gnu.so", name)


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def _sbom(name: str, version: str, parts: dict[str, str]) -> bytes:
    """Return a document of CycloneDX 1.6."""

    def component(url: str, license_: str) -> dict[str, object]:
        rest = url.partition("/")[2]
        called, _, number = rest.rpartition("@")
        return {
            "type": "library",
            "bom-ref": f"pkg:{url}",
            "purl": f"pkg:{url}",
            "name": called,
            "version": number,
            "licenses": [{"expression": license_}],
        }

    own = component(f"pypi/{name}@{version}", "Apache-2.0")
    components = [component(url, license_) for url, license_ in sorted(parts.items())]
    refs = [each["bom-ref"] for each in components]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([own, components]))}",
        "metadata": {"component": own},
        "components": components,
        "dependencies": [
            {"ref": own["bom-ref"], "dependsOn": refs},
            *({"ref": ref} for ref in refs),
        ],
    }
    return (json.dumps(document, indent=1) + "\n").encode()
