"""The store's table of tracks: what bridges announced of where they drive, by its hash, and what of it is in S3."""

from train_cloud.store_file import StoreFile


def put_track(store: StoreFile, sha256: str, content: bytes) -> None:
    """Keep a track's text (`racing.track_text`)."""
    with store.writing() as db:
        db.execute("INSERT OR IGNORE INTO tracks (sha256, content) VALUES (?, ?)", (sha256, content))


def track(store: StoreFile, sha256: str) -> bytes | None:
    """A track's text; None when nobody has announced it."""
    found = store.rows("SELECT content FROM tracks WHERE sha256 = ?", (sha256,))
    return bytes(found[0][0]) if found else None


def only_track(store: StoreFile) -> bytes | None:
    """The text of the one track that was announced; None when there is none, or another one, too."""
    found = store.rows("SELECT content FROM tracks LIMIT 2")
    return bytes(found[0][0]) if len(found) == 1 else None


def unsafe_tracks(store: StoreFile) -> list[tuple[str, bytes]]:
    """Hash and text of the tracks that are not in the bucket yet."""
    return store.rows("SELECT sha256, content FROM tracks WHERE NOT safe")


def mark_track_safe(store: StoreFile, sha256: str) -> None:
    """Note that the track is in the bucket."""
    with store.writing() as db:
        db.execute("UPDATE tracks SET safe = 1 WHERE sha256 = ?", (sha256,))
