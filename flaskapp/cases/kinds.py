"""Kinds of case: what happened and what to do, in words for an operator at three in the morning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`summary`: what happened. `to_do`: what the owner does now. `alert`: whether opening one alerts somebody.

    `stays`: whether the case stays open although its subject came to a good end.
    """

    summary: str
    to_do: str
    alert: bool = True
    stays: bool = False


KINDS = {
    "refused": Kind(
        "The upstream refused this submission, and would refuse it again as it is. The person was informed that it"
        " failed, unless the details say *not informed*.",
        "If the reason is NO_ICN, VA's records have no ICN for the account: reach the person, help to have the records"
        " corrected, and close; what they request after that is filed. Else read it (`flask outbox show MESSAGE`)."
        " Correct the cause upstream and requeue, or help the person to file in another way; then close the case.",
    ),
    "exhausted": Kind(
        "We tried for as long as this flow allows, without success. The person was informed that it failed, unless the"
        " details say *not informed*.",
        "When the upstream works again, requeue the message. The person is informed if it then succeeds.",
    ),
    "may_exist_upstream": Kind(
        "We do not know whether the upstream has this submission. The person was informed that we could not confirm"
        " it.",
        "Look it up by hand upstream. If it is there, inform the person and close. If it is not, requeue: we look it up"
        " again before we send anything. We cannot look up a document of a 526: if it is there, record that with"
        " `flask documents delivered ID --note …`; if it is not, use `flask documents upload-again ID`.",
    ),
    "conflicting_answers": Kind(
        "Two attempts at one submission got different upstream ids: it may be on file twice. Or two submissions got"
        " the same id: the case's details name the other one, one of them may not be on file, and the person was"
        " informed that we could not confirm it.",
        "Different ids: compare both upstream (`flask outbox show MESSAGE`), have one withdrawn, and close. Same id:"
        " find out upstream whose it is, requeue the message (we look it up again before we send anything), and close.",
        stays=True,
    ),
    "half_filed": Kind(
        "A travel pay claim is begun in BTSSS and not submitted: we could not do the step that the case names. The"
        " person was informed that somebody is finishing it.",
        "Requeue the message to go on at that step. Or finish the claim in BTSSS by hand (or have it withdrawn there),"
        " inform the person, and close.",
    ),
    "answered_late": Kind(
        "A submission that we had given up was accepted after all: the answer came too late for us.",
        "Requeue the message: it finds the answer, informs the person and closes the cases.",
    ),
    "overdue": Kind(
        "This work is still being tried, but it is later than its flow allows.",
        "Look at the upstream's breaker (`flask breakers list`). Nothing is lost. Inform the people who run the"
        " upstream.",
    ),
    "past_midnight": Kind(
        "An intent to file was still not in VA's records when the legal day of its request ended. If it is filed now,"
        " upstream dates it later than the law does.",
        "Nothing is lost, and we keep trying. Print the evidence (`flask itf evidence ID`) and follow docs/late-itf.md,"
        " so that the date of the person's request is honoured.",
    ),
    "dated_late": Kind(
        "VA's records date this intent to file on a later day than the day of the person's request. The person was"
        " informed.",
        "Print the evidence (`flask itf evidence ID`), have the date corrected as docs/late-itf.md says, inform the"
        " person, and close.",
        stays=True,
    ),
    "broken": Kind(
        "An intent to file that VA's records had confirmed is no longer there: two reads with an hour between them"
        " agree.",
        "Find out upstream what became of it (`flask itf evidence ID` has its id and dates). If a claim used it up,"
        " close, and record that with `flask itf used ID` next time. If not, have it restored, inform the person, and"
        " close.",
        stays=True,
    ),
    "document_failed": Kind(
        "A document of a 526 did not get into the veteran's eFolder. The veteran was informed, with an obscured file"
        " name.",
        "`flask documents show ID` says at which step it failed. Upload it again (`flask documents upload-again ID`:"
        " Lighthouse is asked first whether it has it by now), or bring it there in another way and record that"
        " (`flask documents delivered ID --note …`).",
    ),
    "document_in_efolder": Kind(
        "A document is safe in the veteran's eFolder, but BGS did not take it: the claim may wait for it, and nobody"
        " would see why. The veteran was informed.",
        "Do not upload it again: it would be there twice. Ask the claims team to link it, then record that with"
        " `flask documents delivered ID --note …`.",
    ),
    "document_missing": Kind(
        "A form names a file that we do not have: it was never uploaded, or too long ago. The form was filed; the"
        " veteran was asked to send the file again.",
        "Ask the veteran for the file, bring it where it belongs, and record that"
        " (`flask documents delivered ID --note …`).",
    ),
    "document_not_found": Kind(
        "Lighthouse gave us a request id for a document, and did not know that id in three polls in a row.",
        "Ask Lighthouse about the id (`flask documents show ID`). We keep polling; the case closes itself when"
        " Lighthouse knows it.",
    ),
    "document_unclear": Kind(
        "Lighthouse answers about a document in a way that we cannot read. The document stays pending.",
        "Compare the answer with the contract (`flask documents show ID`). We keep polling; the case closes itself when"
        " an answer can be read.",
    ),
    "document_stuck": Kind(
        "A document has been on its way for more than ten days.",
        "Ask Lighthouse about its request id (`flask documents show ID`). We keep polling; the case closes itself if"
        " the document arrives.",
    ),
    "notification_undeliverable": Kind(
        "A text or e-mail to the person could not be delivered.",
        "Reach the person in another way (phone, letter) about the subject of this notification, then close. `why` is"
        " VANotify's reason: if the person has died, write to nobody until you know whom. If the details say"
        " *superseded*, it is no longer true: a newer notification informs the person, so only close.",
        stays=True,
    ),
    "notification_not_sent": Kind(
        "VANotify did not take a notification, or never answered. The person may not know how their submission ended.",
        "Requeue the message if VANotify works again, or reach the person in another way, then close. If the details"
        " say *superseded*, it is no longer true: a newer notification informs the person, so only close.",
    ),
    "parked_by_hand": Kind(
        "An operator took this work out of circulation. Nothing happens to it until somebody requeues it.",
        "Requeue the message when it may go on: the case closes when its work is done. Or finish it by hand and close.",
        alert=False,
        stays=True,
    ),
    "unsettled": Kind(
        "Surefile itself cannot finish this: its own records, its keys or its code prevent it. The case's details name"
        " the error. Its message, if there is one, is parked as it was. The person was not informed of it.",
        "Read what was sent and answered (`flask outbox show MESSAGE`) and the log of that message; `flask audit` says"
        " whether its records are in order. Correct the cause and requeue: an answer that was kept is found, and what"
        " may have been sent is looked up first. Or finish it by hand, inform the person, and close.",
    ),
    "synthetic_late": Kind(
        "The submission that is filed every day for a test person did not come to a good end in time, or its person was"
        " not told. What real people file in this flow may be stuck as well.",
        "Its page says where it stands and what is tried next. Look at the upstream's breaker (`flask breakers list`),"
        " at the work that waits beside it (`flask outbox list`), and at VANotify, if only the telling is missing."
        " If it failed, it has another case that says why. This one closes itself when the person of a later one is"
        " told.",
        stays=True,
    ),
    "unaccounted": Kind(
        "The audit found a submission that has no outstanding work, whose person was not informed, and that no human"
        " has.",
        "`flask audit --repair` repairs what is safe to repair. If it is still there, read its history"
        " (`flask outbox show MESSAGE`), find out upstream what became of it, and close with what you found.",
    ),
    "contradiction": Kind(
        "Our own records of this contradict each other: something outside Surefile changed them. The case's details"
        " name the broken rule.",
        "Find out who changed the database. `flask audit --repair` repairs what is safe to repair. For the rest, find"
        " out upstream what is true, correct it, and close: a closed case counts as explained.",
        stays=True,
    ),
    "webhook_failing": Kind(
        "A receiver of webhooks has taken nothing for three days, or says that it is gone. What it is to be told waits,"
        " up to the time for which deliveries are kept.",
        "Inform the people who run it (`flask webhooks list` says which). `flask webhooks test ID` shows what it"
        " answers. When it is there again, `flask webhooks redeliver ID` sends all that waits, and the case closes"
        " itself; if it is gone for good, `flask webhooks remove ID`.",
    ),
    "webhook_refused": Kind(
        "A receiver of webhooks refused a delivery for three days and took others. It was not told what the delivery"
        " says.",
        "Ask the people who run it why (the case's details name the delivery). `flask webhooks redeliver ID` sends it"
        " once more, under the same id. Close the case when they have it, or do without it.",
        stays=True,
    ),
}
