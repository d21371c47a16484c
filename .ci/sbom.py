"""Makes maltriage.cdx.json, the bill of materials of the wheel: CycloneDX 1.6.

It lists the bundles and indexes that ship, by digest, and the packages of requirements.txt with
their licences and what each needs, from the metadata of those that are installed. It has neither a
time nor a serial number: the same sources give the same file.
"""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from requirements import ROOT, read, tree

from maltriage import __version__
from maltriage.bundle import models_dir
from maltriage.bundle.digests import published
from maltriage.files.atomic import write_file
from maltriage.probe.common import SHIPPED
from maltriage.similar.index import SUFFIX

SBOM = ROOT / "maltriage.cdx.json"
_FROM_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
}


def licences(name: str) -> list[License]:
    """The licence of an installed package: its expression, its classifier, or its own words."""
    about = metadata.metadata(name)
    names = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or ()]
    texts = [about["License-Expression"] or "", (about["License"] or "").strip()]
    texts.append(next((_FROM_CLASSIFIER.get(n, n) for n in names if "License" in n), ""))
    first = next((t for t in texts if t not in ("", "UNKNOWN") and "\n" not in t), None)
    return [] if first is None else [LicenseFactory().make_from_string(first)]


def bundled() -> list[Component]:
    """The bundles and indexes that ship, and what clean programs have in common."""
    clean = models_dir() / SHIPPED
    found = [_data(clean, hashlib.sha256(clean.read_bytes()).hexdigest())]
    for path in sorted(models_dir().glob("*.*")):
        is_index = path.name.endswith(SUFFIX)
        name = path.name.removesuffix(SUFFIX if is_index else ".onnx")
        digests = [e.index_sha256 if is_index else e.sha256 for e in published() if e.name == name]
        if digests and digests[-1]:
            model = ComponentType.MACHINE_LEARNING_MODEL
            found.append(_data(path, digests[-1], ComponentType.DATA if is_index else model))
    return found


def _data(path: Path, digest: str, kind: ComponentType = ComponentType.DATA) -> Component:
    return Component(
        name=path.name,
        version=__version__,
        type=kind,
        bom_ref=path.name,
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
            description=metadata.metadata(name)["Summary"],
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
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
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
