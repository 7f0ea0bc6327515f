"""The object store: django-storages' S3 with its settings, and a limit to every wait."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from django.conf import settings
from storages.backends.s3 import S3Storage

CONNECT, READ = 0.5, 3.0  # seconds; boto's defaults are a minute each
TRIES = 2


class MediaStorage(S3Storage):  # type: ignore[misc]  # django-storages has no types
    """Objects of one bucket, which browsers read by MEDIA_URL."""

    def get_default_settings(self) -> dict[str, Any]:
        """Return django-storages' settings, with limits added."""
        found: dict[str, Any] = super().get_default_settings()
        limits = Config(
            connect_timeout=CONNECT,
            read_timeout=READ,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            max_pool_connections=8,
            signature_version=found["signature_version"],
            s3={"addressing_style": found["addressing_style"]},
            # The checksums that stores other than Amazon's support too.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        # The calling thread sends an object, in one piece.
        return found | {"client_config": limits, "transfer_config": TransferConfig(use_threads=False)}

    def url(self, name: str, *_args: Any, **_options: Any) -> str:
        """Return the URL of an object for browsers."""
        return f"{settings.MEDIA_URL}{name}"

    def presigned_put(self, url: str, *, content_type: str, length: int, seconds: int) -> str:
        """Return `url`, which must lead to the bucket, signed for a PUT of this type and length for
        `seconds`.
        """
        request = AWSRequest("PUT", url, headers={"Content-Type": content_type, "Content-Length": str(length)})
        credentials = self._create_session().get_credentials()
        S3SigV4QueryAuth(credentials, "s3", self.region_name, expires=seconds).add_auth(request)
        return str(request.url)

    def older(self, prefix: str, than: datetime, most: int) -> list[str]:
        """Return the names of objects below `prefix` that were stored before `than`; look at `most`
        objects.
        """
        found = self.bucket.objects.filter(Prefix=prefix).limit(most)
        return [one.key for one in found if one.last_modified < than]
