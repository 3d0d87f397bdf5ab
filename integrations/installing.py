"""How this package is installed, for messages."""


def how_to_install(extra: str = "", release: str = "") -> str:
    """The commands that install this package, with an extra or for a minor release of transformers. None asks a package index,
    where the name is nobody's yet, and may become somebody else's."""
    extras = f"[{extra}]" if extra else ""
    option = f" --config-settings transformers={release}" if release else ""
    clone = f"-e '.{extras}'" if extra else "."
    return (
        f"`pip install {clone}{option}` in a clone of its repository, or `pip install 'transformers-heterogeneous{extras} @ "
        f"git+URL'{option}` with the URL of that"
    )
