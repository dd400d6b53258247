"""`onnx-dnscp` and `python -m onnx_dnscp`: the command line, under supervision."""

from __future__ import annotations

import sys

from onnx_dnscp.system.supervisor import supervised


def main() -> None:
    """Run the command line in a process that may crash, and exit."""
    sys.exit(supervised(_work))


def _work() -> int:
    from onnx_dnscp.cli.main import run  # in the child alone
    from onnx_dnscp.system.interruption import interrupt_on_sigterm

    interrupt_on_sigterm()
    return run()


if __name__ == "__main__":
    main()
