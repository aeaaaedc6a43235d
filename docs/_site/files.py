"""Which files are on the docs site: a hook of MkDocs.

The site has the repository's paths, so that a link from one page to another, also from ``docs/``
to the README or to a benchmark, is the same on the site as on the repository's own page.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
# Pages, and what they link to.
PATTERNS = (
    "*.md",
    "CITATION.cff",
    "LICENSE",
    "benchmarks/README.md",
    "docs/*/*.md",
    "docs/_site/*.js",
    "docs/img/*",
    "docs/results/**/*.csv",
    "examples/*/README.md",
    "examples/docker/*",
    "examples/notebook/*.ipynb",
    "fsl_sage_flwr/compression/codecs/sign.py",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of ``docs/`` by those of the repository; keep the theme's."""
    ours = [
        File(
            path.relative_to(ROOT).as_posix(),
            src_dir=str(ROOT),
            dest_dir=config.site_dir,
            use_directory_urls=config.use_directory_urls,
        )
        for pattern in PATTERNS
        for path in sorted(ROOT.glob(pattern))
    ]
    return Files([file for file in files if file.src_dir != config.docs_dir] + ours)
