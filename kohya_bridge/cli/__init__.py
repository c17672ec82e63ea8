"""The shell: `python -m kohya_bridge <verb>`. Each verb parses, calls one function of the core, and shows the result."""
