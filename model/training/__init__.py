"""The separate training module: a hospital trains its own bundle by the published protocol."""
