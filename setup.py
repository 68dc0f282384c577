"""Packaging: every field comes from settings.ini, the one source of metadata."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
CLASSIFIERS = {
    "status": {"1": "Planning", "2": "Pre-Alpha", "3": "Alpha", "4": "Beta", "5": "Production/Stable"},
    "license": {"apache2": "Apache-2.0"},
}


def read_settings() -> dict:
    parser = ConfigParser(delimiters=["="])
    parser.read(HERE / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def read_extras(text: str) -> dict:
    """Each line is `name = requirement requirement …`; `all` is every extra that a user of the library may want."""
    pairs = (line.split("=", 1) for line in text.strip().splitlines())
    extras = {name.strip(): value.split() for name, value in pairs}
    extras["all"] = sorted({r for name, rs in extras.items() if name not in ("dev", "test") for r in rs})
    return extras


cfg = read_settings()
status = f"{cfg['status']} - {CLASSIFIERS['status'][cfg['status']]}"

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    license=CLASSIFIERS["license"][cfg["license"]],
    url=cfg["git_url"],
    keywords=cfg["keywords"].split(),
    classifiers=[f"Development Status :: {status}", f"Intended Audience :: {cfg['audience']}",
                 "Programming Language :: Python :: 3", "Programming Language :: Python :: 3.11"],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[cfg["lib_path"], f"{cfg['lib_path']}.*"]),
    package_data={cfg["lib_path"]: ["configs/**/*.yaml", "configs/*.yaml", "notebooks/*.ipynb"]},
    include_package_data=True,
    install_requires=cfg["requirements"].split(),
    extras_require=read_extras(cfg["extras"]),
    entry_points={"console_scripts": cfg["console_scripts"].split(), "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]},
    zip_safe=False,
)
