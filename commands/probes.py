# SPDX-License-Identifier: Apache-2.0
"""``memtrace probes``: the logical events, and the site that serves each one here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from memtrace import safe
from memtrace.commands import SETTINGS
from memtrace.commands.say import show
from memtrace.commands.status_line import StatusLine

if TYPE_CHECKING:
    from memtrace.traces.run import ProbeSite

SCHEMA = 1
TRYING = "trying every site on this kernel..."


@click.command(context_settings=SETTINGS)
@click.option("-v", "--verbose", is_flag=True, help="Also the decoding, and every refused site.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def probes(verbose: bool, as_json: bool) -> None:
    """List the events, and for each the site chosen here or why there is none.

    Every site is tried on the running kernel, which takes about a second and the
    privileges of `memtrace record`.  Exit status 1 if nothing can be recorded.
    """
    from memtrace.probes.machine.privileges import require_recording
    from memtrace.probes.recorder.survey import survey

    require_recording()
    with StatusLine() as line:
        line.show(TRYING)
        sites = survey()
    if as_json:
        show(safe.json_text(document(sites), indent=2))
    else:
        show(table(sites, verbose))
    if not any(site.site for site in sites):
        raise SystemExit(1)


def table(sites: tuple[ProbeSite, ...], verbose: bool = False) -> str:
    """The sites as text: one line each, and with ``verbose`` what stands behind it."""
    from memtrace.commands.layout import columns, sentences

    rows = [("event", "kind", "time", "count", "site")]
    rows += [
        (s.event, s.kind or "-", s.time, s.count, here(s)) if s.site else (s.event, "-", "-", "-", here(s))
        for s in sites
    ]
    if not verbose:
        return columns(rows, indent=0)
    blocks = [columns(rows, indent=0)]
    for site in sites:
        lines = [site.event]
        lines += [sentences(text) for text in _details(site)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def here(site: ProbeSite) -> str:
    """The site, or the reasons why there is none."""
    if site.site:
        return " and ".join(filter(None, (site.site, site.beside)))
    reasons = list(dict.fromkeys(r.reason for r in site.refused))
    return f"none: {', '.join(reasons)}" if reasons else "none"


def _details(site: ProbeSite) -> list[str]:
    lines = []
    if site.site:
        lines.append(f"site: {site.site}" + (f", in {site.function}" if site.function else ""))
    if site.decode:
        lines.append(f"decodes: {site.decode}")
    if site.inclusive_of:
        lines.append(f"its time includes: {', '.join(site.inclusive_of)}")
    if site.site:
        words = {True: "yes", False: "no, it attached and stayed silent", None: "not here; record tries"}
        lines.append(f"proven: {words[site.proven]}")
    lines += [f"not {r.candidate}: {r.reason}" + (f" ({r.detail})" if r.detail else "") for r in site.refused]
    return lines


def site_rows(sites: tuple[ProbeSite, ...]) -> list[dict[str, Any]]:
    """The ``sites`` table of the JSON document."""
    return [
        {
            "event": s.event,
            "site": s.site,
            "kind": s.kind,
            "function": s.function,
            "offsets": list(s.offsets),
            "decode": s.decode,
            "inclusive_of": list(s.inclusive_of),
            "time": s.time if s.site else None,
            "count": s.count if s.site else None,
            "proven": s.proven,
            "beside": s.beside,
        }
        for s in sites
    ]


def refused_rows(sites: tuple[ProbeSite, ...]) -> list[dict[str, Any]]:
    """The ``refused`` table of the JSON document: each better site and why it was not used."""
    return [
        {"event": s.event, "candidate": r.candidate, "reason": r.reason, "detail": r.detail}
        for s in sites
        for r in s.refused
    ]


def document(sites: tuple[ProbeSite, ...]) -> dict[str, Any]:
    """The JSON document of ``memtrace probes``."""
    from memtrace.probes.machine.kconfig import release
    from memtrace.probes.machine.kernel import build_id, machine

    return {
        "schema": SCHEMA,
        "run": {"kernel_release": release(), "machine": machine(), "build_id": build_id()},
        "tables": {"sites": site_rows(sites), "refused": refused_rows(sites)},
        "caveats": [
            {"id": f"unseen-{s.event}", "text": f"{s.event} cannot be seen here: {here(s)}"}
            for s in sites
            if not s.site
        ],
    }
