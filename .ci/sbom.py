"""Makes maltriage.cdx.json, the bill of materials of the wheel: CycloneDX 1.6.

It lists what the wheel holds of models/, by digest, and the packages of requirements.txt with
their licences and what each needs, from the metadata of those that are installed. It has neither a
time nor a serial number: the same sources give the same file.
"""

from __future__ import annotations

import json
import tomllib
from importlib import metadata
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from requirements import ROOT, read, tree

from maltriage import __version__
from maltriage.bundle.digests import published, published_data
from maltriage.files.atomic import write_file

SBOM = ROOT / "maltriage.cdx.json"
_FROM_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
}


def _field(name: str, field: str) -> str:
    """A field of a package's metadata; empty where it has none."""
    found = metadata.metadata(name).get_all(field)
    return found[0] if found else ""


def licences(name: str) -> list[License]:
    """The licence of an installed package: its expression, its classifier, or its own words."""
    about = metadata.metadata(name)
    names = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or ()]
    texts = [_field(name, "License-Expression"), _field(name, "License").strip()]
    texts.append(next((_FROM_CLASSIFIER.get(n, n) for n in names if "License" in n), ""))
    first = next((t for t in texts if t not in ("", "UNKNOWN") and "\n" not in t), None)
    return [] if first is None else [LicenseFactory().make_from_string(first)]


def bundled() -> list[Component]:
    """The bundle that is in the wheel, and what clean programs have in common."""
    digests = {entry.file: entry.sha256 for entry in published_data()}
    digests |= {f"{entry.name}.onnx": entry.sha256 for entry in published()}
    model = ComponentType.MACHINE_LEARNING_MODEL
    return [
        _data(name, digests[name], model if name.endswith(".onnx") else ComponentType.DATA)
        for name in in_the_wheel()
        if name in digests
    ]


def in_the_wheel() -> list[str]:
    """The names of the files of models/ that the wheel holds, by pyproject.toml."""
    included = _project()["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    return sorted(name.removeprefix("models/") for name in included if name.startswith("models/"))


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _data(name: str, digest: str, kind: ComponentType) -> Component:
    return Component(
        name=name,
        version=__version__,
        type=kind,
        bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseFactory().make_with_name("models/NOTICE")],
    )


def make() -> str:
    """The bill of materials, as JSON.

    Raises:
        PackageNotFoundError: a package of requirements.txt is not installed.
        ValueError: one is installed in another version.
    """
    pinned, needs = read(), tree()
    packages = dict[str, Component]()
    for name, (version, digests) in pinned.items():
        if metadata.version(name) != version:
            raise ValueError(f"{name} {metadata.version(name)} is installed, and not {version}")
        url = PackageURL(type="pypi", name=name, version=version)
        packages[name] = Component(
            name=name,
            version=version,
            description=_field(name, "Summary") or None,
            bom_ref=str(url),
            purl=url,
            scope=ComponentScope.REQUIRED,
            licenses=licences(name),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests],
        )
    root = Component(
        name="maltriage",
        version=__version__,
        type=ComponentType.APPLICATION,
        bom_ref="maltriage",
        purl=PackageURL(type="pypi", name="maltriage", version=__version__),
        licenses=[LicenseExpression(_project()["project"]["license"])],
    )
    shipped = bundled()
    bom = Bom(components=[*shipped, *packages.values()])
    bom.metadata.component = root
    bom.register_dependency(root, [*shipped, *(packages[name] for name in needs["maltriage"])])
    for name, component in packages.items():
        bom.register_dependency(component, [packages[other] for other in needs[name]])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["serialNumber"], document["metadata"]["timestamp"]
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    write_file(SBOM, make().encode())
