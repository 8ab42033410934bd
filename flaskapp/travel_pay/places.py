"""Station numbers and their time zones: Travel Pay names a facility, but never its zone (contract: travel 5.3).

The table has the stations of VA's own pages (contract: frontend 5.2), from vets-website's
`src/applications/vaos/utils/timezones.json`, and is read as they read it: by the whole number, where a clinic stands
that has another clock than its hospital, then by the first three digits. A page compares our `start` with its own
table, so one that differs would lead people astray. A station that is in neither way in it has no zone here, and its
appointments no instant: a guess could be hours off.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

STATIONS = {
    "America/New_York": "402 405 460 503 506GA 508 509 512 516 517 518 523 526 528 529 534 538 539 540 541 542 544 546"
    " 548 552 557 558 561 562 565 573 581 590 595 596 603 608 610GE 613 619GA 619GG 619QB 620 621 626GF 626GL 626GN"
    " 626QC 630 631 632 637 642 646 650 652 658 659 673 675 688 689 693 757 984",
    "America/Detroit": "506 515 553 585GA 585GF 585GG 585HA 585HB 655",
    "America/Indiana/Indianapolis": "552GC 583 603GG 610",
    "America/Indiana/Vincennes": "583QF 657GQ",
    "America/Chicago": "437 438 502 504 519 520 521 537 549 550 556 564 568GB 568HJ 568HP 573GK 578 580 585 586 589"
    " 598 603GF 607 614 618 619 623 626 629 635 636 656 657 667 671 674 676 679 695 740",
    "America/Denver": "436 437GJ 442 501 504BZ 519GB 554 568 575 649QA 649QF 649QH 660 666 668QB 756 983",
    "America/Boise": "531 660GA 660QA",
    "America/Phoenix": "644 649 678",
    "America/Los_Angeles": "531GH 570 593 600 605 612 640 648 653 654 660GK 662 663 664 668 687 691 692",
    "America/Anchorage": "463",
    "Pacific/Honolulu": "459",
    "Pacific/Guam": "459GE",
    "Pacific/Saipan": "459GH",
    "Pacific/Pago_Pago": "459GF",
    "America/Puerto_Rico": "672",
    "America/St_Thomas": "672GA 672GB",
    "Asia/Manila": "358",
}
ZONES = {station: zone for zone, stations in STATIONS.items() for station in stations.split()}


def zone_of(station: str | None) -> ZoneInfo | None:
    name = ZONES.get(station or "") or ZONES.get((station or "")[:3])
    return ZoneInfo(name) if name else None


def utc_text(wall_clock: datetime, zone: ZoneInfo) -> str:
    """The instant at which a facility's clock shows this: `2031-03-04T14:30:00Z`. Of an hour that comes twice, the
    first."""
    return wall_clock.replace(tzinfo=zone).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
