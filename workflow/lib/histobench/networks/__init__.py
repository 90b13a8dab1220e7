"""Networks: building blocks that several methods share (backbones, heads, capsules, graph layers)."""
