"""`scssl env`: versions, devices and extras, as a bug report needs them."""

from __future__ import annotations

from scssl.cli.common import Common, Outcome


def env(*, common: Common | None = None) -> Outcome:  # noqa: ARG001 (read by cli.app)
    """Print what a bug report needs: versions, processor, memory, devices, and which extras are installed.

    Paste the output into the report. It holds no host name, user name or file of yours.

    Parameters
    ----------
    common
        Options that every command takes.
    """
    from rich.markup import escape

    from scssl.environment import devices, executable, extras, machine, versions

    found, computer, missing = versions(), machine(), extras()
    try:
        torch = devices()
    except (ImportError, OSError) as error:
        # What a report is often about: the versions are then all the more needed.
        torch = {"problem": f"PyTorch cannot be loaded: {error}"}
    result = {
        "versions": found,
        "python": executable(),
        "machine": computer,
        "devices": torch,
        "extras_missing": missing,
    }
    memory = "unknown" if computer["memory_gib"] is None else f"{computer['memory_gib']} GiB"
    if computer["memory_free_gib"] is not None:
        memory += f", {computer['memory_free_gib']} GiB free"
    cuda = "; ".join(torch["cuda"]) + f" (CUDA {torch['cuda_version']})" if torch.get("cuda") else "none"
    rows = {
        **found,
        "interpreter": result["python"],
        "system": computer["system"],
        "processor": f"{computer['processor']}, {computer['cores']} cores usable",
        "memory": memory,
    }
    if "problem" in torch:
        rows["devices"] = torch["problem"]
    else:
        rows["processor"] += f", bfloat16: {torch['cpu_bf16']}"
        rows |= {"CUDA devices": cuda, "Apple MPS": "yes" if torch["mps"] else "no"}
    for extra, packages in missing.items():
        rows[f"extra {extra}"] = "installed" if not packages else f"missing {', '.join(packages)}"
    width = max(map(len, rows))
    lines = [f"[bold]{escape(key):<{width}}[/bold]  {escape(str(value))}" for key, value in rows.items()]
    return Outcome(result=result, text="\n".join(lines))
