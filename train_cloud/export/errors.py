"""Why an export cannot be made."""


class ExportError(Exception):
    """There is nothing to export, or it cannot be written; the text says why and what to do."""


INSTALL = 'Install the extra in the project\'s folder: pip install -c constraints.txt -e ".[operator,export]"'


def not_installed(error: ImportError) -> ExportError:
    """What to say where a library of the extra is missing."""
    return ExportError(f"The package {error.name} is not installed, which this export needs. {INSTALL}")
