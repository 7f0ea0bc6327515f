"""An S3 store as Django's storage, with a limit to every wait: `"BACKEND":
"scaleout.s3.MediaStorage"`.
"""

from scaleout.s3.storage import MediaStorage

__all__ = ["MediaStorage"]
