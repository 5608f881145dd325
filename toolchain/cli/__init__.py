"""The Typer skin: parse, call one stage, print, map errors to exit codes."""
