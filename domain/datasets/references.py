"""What the name of a dataset in a project or a run means: one file of one version.

`datasets/<dataset>/<file>` always works; `datasets/<dataset>` and the dataset's bare name or id while it has one file; `datasets/<file>`
while that is unique. `<dataset>@<version>` is the dataset as it was.
"""

from msgspec import Struct

from domain.datasets.actions import Tx, files
from domain.datasets.dataset import FOLDER, Dataset, Upload, versioned
from domain.errors import Flaw, Invalid, NotFound


class Named(Struct, frozen=True):
    """The file that a reference turned out to mean."""

    path: str
    """How a config names it."""
    dataset: Dataset
    upload: Upload


def resolve(tx: Tx, ref: str) -> Named | None:
    """Find the uploaded file that is meant; None when no upload goes by it, Invalid with the candidates when several do."""
    place = ref.removeprefix(FOLDER)
    if "/" in place and place == ref:
        return None
    folder, _, filename = place.rpartition("/")
    if folder:
        found = [Named(ref, each.dataset, each.upload) for each in _files(tx, folder) if each.upload.name == filename]
    else:
        found = _files(tx, place)
        if place != ref:
            by_name = [Named(ref, dataset, upload) for dataset, upload in tx.datasets.uploads_named(place)]
            found += [each for each in by_name if each.upload.id not in {other.upload.id for other in found}]
    if len(found) > 1:
        paths = [f"{FOLDER}{each.dataset.name}/{each.upload.name}" if each.path == ref else each.path for each in found]
        message = f"{ref} could be any of {', '.join(paths)}; name the one you mean"
        raise Invalid(message, [Flaw("dataset", message)], candidates=paths)
    if found and found[0].upload.gone:
        raise Invalid(found[0].upload.gone, [Flaw("dataset", found[0].upload.gone)])
    return found[0] if found else None


def one_file(tx: Tx, ref: str, name: str | None) -> tuple[Dataset, Upload]:
    """Return a dataset and the file of it that is meant: the named one, or the only one; Invalid, naming them, where there are several."""
    dataset, uploads = files(tx, ref)
    found = [each for each in uploads if name in (None, each.name)]
    if not found:
        message = f"dataset {dataset.name} has no file {name}" if name else f"dataset {dataset.name} has no file yet; upload one first"
        raise NotFound(message, dataset=dataset.id)
    if len(found) > 1:
        message = f"dataset {dataset.name} has {len(found)} files; say which with ?file=: {', '.join(each.name for each in found)}"
        raise Invalid(message, [Flaw("file", message)], candidates=[each.name for each in found])
    return dataset, found[0]


def _files(tx: Tx, name: str) -> list[Named]:
    """The files of the dataset (or of the version of it) that goes by this name, by their full paths; Invalid for an unknown version."""
    dataset = tx.datasets.find(name)
    if dataset is not None:
        return [Named(f"{FOLDER}{dataset.name}/{each.name}", dataset, each) for each in tx.datasets.uploads(dataset.id)]
    split = versioned(name)
    dataset = tx.datasets.find(split[0]) if split else None
    if split is None or dataset is None:
        return []
    if not 1 <= split[1] <= dataset.version:
        message = f"dataset {dataset.name} has no version {split[1]}; its newest is {dataset.version}"
        raise Invalid(message, [Flaw("dataset", message)])
    return [Named(f"{FOLDER}{dataset.name}@{split[1]}/{each.name}", dataset, each) for each in tx.datasets.uploads_at(dataset.id, split[1])]
