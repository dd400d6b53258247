"""`python -m onnx_dnscp`."""

from onnx_dnscp.cli import main

if __name__ == "__main__":
    main()
