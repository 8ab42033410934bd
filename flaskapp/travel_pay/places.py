"""Station numbers and their time zones: Travel Pay names a facility, but never its zone (contract: travel 5.3).

The table has what VA's own clients use (contract: frontend 5.2), by whole station number or by its first three digits.
Those with letters are in the specs of vets-website's `getTimezoneByFacilityId`.
A station that is not in it has no zone here, and its appointments no instant: a guess could be hours off.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

STATIONS = {
    "America/New_York": "402 405 460 503 506 508 509 512 515 516 517 518 523 526 528 529 534 538 539 540 541 542 544"
    " 546 548 552 553 557 558 561 562 565 573 581 583 590 595 596 603 608 610 613 620 621 630 631 632 637 642 646 650"
    " 652 655 658 659 673 675 688 689 693 757 984",
    "America/Chicago": "437 438 502 504 519 520 521 537 549 550 556 564 578 580 585 586 589 598 607 614 618 619 623 626"
    " 629 635 636 656 657 667 671 674 676 679 695 740",
    "America/Denver": "436 442 501 531 554 568 575 660 666 756 983",
    "America/Phoenix": "644 649 678",
    "America/Los_Angeles": "570 593 600 605 612 640 648 653 654 662 663 664 668 687 691 692",
    "America/Anchorage": "463",
    "Pacific/Guam": "459GE",
    "Pacific/Honolulu": "459",
    "Pacific/Pago_Pago": "459GF",
    "Pacific/Saipan": "459GH",
    "America/Puerto_Rico": "672",
    "America/St_Thomas": "672GA",
    "Asia/Manila": "358",
}
ZONES = {station: zone for zone, stations in STATIONS.items() for station in stations.split()}
# Its clinics lie on both sides of the date line: those not listed need not have the clock of the hospital in Honolulu.
SCATTERED = ("459",)


def zone_of(station: str | None) -> ZoneInfo | None:
    number, parent = station or "", (station or "")[:3]
    name = ZONES.get(number) or (ZONES.get(parent) if parent not in SCATTERED else None)
    return ZoneInfo(name) if name else None


def utc_text(wall_clock: datetime, zone: ZoneInfo) -> str:
    """The instant at which a facility's clock shows this: `2031-03-04T14:30:00Z`. Of an hour that comes twice, the
    first."""
    return wall_clock.replace(tzinfo=zone).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
