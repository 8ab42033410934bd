"""What each kind of case means, in words an operator understands at three in the morning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`summary`: what happened. `to_do`: what the owner does now. `alert`: whether opening one wakes somebody.

    `stays`: whether it takes more than its subject's good end to close it.
    """

    summary: str
    to_do: str
    alert: bool = True
    stays: bool = False


KINDS = {
    "refused": Kind(
        "The upstream refused this submission and will refuse it again as it is. The person was told it failed.",
        "Read the attempt's reason (`flask outbox show MESSAGE`). Correct the cause upstream and requeue, or help the"
        " person file another way, then close the case.",
    ),
    "exhausted": Kind(
        "We tried for as long as this flow allows and never got through. The person was told it failed.",
        "When the upstream works again, requeue the message; the person is told if it then succeeds.",
    ),
    "may_exist_upstream": Kind(
        "We cannot tell whether the upstream holds this submission. The person was told we could not confirm it.",
        "Look it up by hand upstream. If it is there, tell the person and close; if it is not, requeue: we look again"
        " before sending anything. A document of a 526 we cannot look up: if it is there, say so with"
        " `flask documents delivered ID --note …`; if it is not, `flask documents upload-again ID`.",
    ),
    "conflicting_answers": Kind(
        "Two attempts at one submission came back with different upstream ids: it may be on file twice. Or two"
        " submissions came back with the same one: the case's details name the other, one of them may not be on file,"
        " and the person was told that we could not confirm it.",
        "Of different ids: compare both (`flask outbox show MESSAGE`) upstream, have one withdrawn, and close. Of the"
        " same one: find out upstream whose it is; requeue the message, we look again before sending anything; close.",
        stays=True,
    ),
    "half_filed": Kind(
        "A travel pay claim stands in BTSSS begun and not submitted: we could not do the step the case names. The"
        " person was told that somebody is finishing it.",
        "Requeue the message to go on at that step, or finish the claim in BTSSS by hand (or have it taken back), tell"
        " the person, and close.",
    ),
    "answered_late": Kind(
        "A submission we had given up was accepted after all: the answer came when nobody was waiting any more.",
        "Requeue the message: it finds the answer, tells the person and closes the cases.",
    ),
    "overdue": Kind(
        "This work is still being tried but is later than its flow allows.",
        "Look at the upstream's gate (`flask gates list`). Nothing is lost; tell whoever runs the upstream.",
    ),
    "past_midnight": Kind(
        "An intent to file was still not in VA's records when the legal day it was asked on ended. Filed now, upstream"
        " dates it later than the law does.",
        "Nothing is lost and we keep trying. Print the evidence (`flask itf evidence ID`) and follow the remediation"
        " playbook in the README, so that the date the person asked on is honoured.",
    ),
    "dated_late": Kind(
        "VA's records date this intent to file on a later day than the person asked for it. The person was told.",
        "Print the evidence (`flask itf evidence ID`), have the date corrected as the remediation playbook in the"
        " README says, tell the person, and close.",
        stays=True,
    ),
    "broken": Kind(
        "An intent to file that VA's records had confirmed is no longer there: two readings an hour apart agree.",
        "Find out upstream what became of it (`flask itf evidence ID` has its id and dates). If a claim used it up,"
        " say so with `flask itf used ID` next time; else have it restored, tell the person, and close.",
        stays=True,
    ),
    "document_failed": Kind(
        "A document of a 526 did not get into the veteran's eFolder. The veteran was told, by an obscured file name.",
        "`flask documents show ID` says at which step. Upload it again (`flask documents upload-again ID`), or bring it"
        " there another way and say so (`flask documents delivered ID --note …`).",
    ),
    "document_in_efolder": Kind(
        "A document is safe in the veteran's eFolder, but BGS did not take it: the claim may wait for it, and nobody"
        " notices. The veteran was told.",
        "Don't upload it again: it would be there twice. Ask the claims team to link it, then say so with"
        " `flask documents delivered ID --note …`.",
    ),
    "document_missing": Kind(
        "A form names a file that we do not hold: never uploaded, or too long ago. The form was filed; the veteran was"
        " told.",
        "Ask the veteran for the file, bring it where it belongs, and say so"
        " (`flask documents delivered ID --note …`).",
    ),
    "document_not_found": Kind(
        "Lighthouse gave us a request id for a document, and three polls running did not know it.",
        "Ask Lighthouse about the id (`flask documents show ID`). We keep asking; it closes itself when Lighthouse"
        " knows it.",
    ),
    "document_unclear": Kind(
        "Lighthouse answers about a document in a way we cannot read. It stays pending.",
        "Compare the answer with the contract (`flask documents show ID`); we keep asking, it closes itself when an"
        " answer can be read.",
    ),
    "document_stuck": Kind(
        "A document has been on its way for more than ten days.",
        "Ask Lighthouse about its request id (`flask documents show ID`). We keep asking; it closes itself if it"
        " arrives.",
    ),
    "notification_undeliverable": Kind(
        "A text or e-mail to the person could not be delivered.",
        "Reach the person another way (phone, letter) about the subject of this notice, then close. Where the details"
        " say *superseded*, it is not so any more: a newer notice tells them, and there is nothing to do but close.",
        stays=True,
    ),
    "notification_not_sent": Kind(
        "VANotify would not take a notice, or never answered; the person may not know how their submission ended.",
        "Requeue the message if VANotify works again, or reach the person another way, then close. Where the details"
        " say *superseded*, it is not so any more: a newer notice tells them, and there is nothing to do but close.",
    ),
    "parked_by_hand": Kind(
        "An operator took this work out of circulation. Nothing happens to it until somebody requeues it.",
        "Requeue the message when it may go on: the case closes when its work is done. Or finish it by hand and close.",
        alert=False,
        stays=True,
    ),
    "unsettled": Kind(
        "Surefile itself cannot bring this to its end: its own records, its keys or its code stand in the way. The"
        " case's details name the error. Its message, if it has one, is parked as it stood, and the person was told"
        " nothing of it.",
        "Read what was sent and answered (`flask outbox show MESSAGE`) and the log of that message; `flask audit` says"
        " whether its records are in order. Set the cause right and requeue: an answer that was kept is found, and"
        " what may have been sent is looked up first. Else finish it by hand, tell the person, and close.",
    ),
    "unaccounted": Kind(
        "The audit found a submission that is neither owed, nor told, nor held by anybody.",
        "`flask audit --repair` mends what can be mended safely. Else read its history (`flask outbox show`), find out"
        " what became of it upstream, and close with what you found.",
    ),
    "contradiction": Kind(
        "Our own records of this contradict each other: something outside Surefile changed them. The case's details"
        " name the rule that is broken.",
        "Find out who changed the database. `flask audit --repair` mends what can be mended safely; for the rest,"
        " find out what is true upstream, set it right, and close: closed, it counts as explained.",
        stays=True,
    ),
}
