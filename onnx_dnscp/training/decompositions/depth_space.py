"""Blocks of pixels to channels and back."""

from __future__ import annotations

from onnx_dnscp.training.decompositions.registry import Site, decomposition


@decomposition("DepthToSpace")
def depth_to_space(site: Site) -> str:
    """Channels (block, block, c) for mode DCR, (c, block, block) for CRD; source: the operator's definition."""
    batch, channels, height, width = site.shape()
    block = site.attribute("blocksize")
    rest = channels // block**2
    if site.attribute("mode", "DCR") == "DCR":
        apart = site.reshape(site.operand(0), (batch, block, block, rest, height, width))
        moved = site.emit("Transpose", apart, perm=[0, 3, 4, 1, 5, 2])
    else:
        apart = site.reshape(site.operand(0), (batch, rest, block, block, height, width))
        moved = site.emit("Transpose", apart, perm=[0, 1, 4, 2, 5, 3])
    return site.reshape(moved, (batch, rest, height * block, width * block))


@decomposition("SpaceToDepth")
def space_to_depth(site: Site) -> str:
    """The inverse of DepthToSpace in mode DCR."""
    batch, channels, height, width = site.shape()
    block = site.attribute("blocksize")
    apart = site.reshape(site.operand(0), (batch, channels, height // block, block, width // block, block))
    moved = site.emit("Transpose", apart, perm=[0, 3, 5, 1, 2, 4])
    return site.reshape(moved, (batch, channels * block**2, height // block, width // block))
