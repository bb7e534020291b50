"""Honest cases of every shape, by name, each written step by step as the service and its workers would."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from unit import honest_changes, honest_moves, honest_order, honest_paths, honest_views
from unit.governing import World

HONEST: Mapping[str, Callable[[], World]] = {
    made.__name__.replace("_", " "): made
    for made in (
        honest_paths.approved,
        honest_paths.rejected,
        honest_paths.written_nothing,
        honest_paths.two_stages,
        honest_paths.two_gates,
        honest_paths.two_gates_writing_nothing,
        honest_paths.after_a_node,
        honest_paths.after_one_and_before_the_next,
        honest_paths.decision_that_leads_to_another_gate,
        honest_paths.in_a_loop,
        honest_paths.answered,
        honest_paths.two_questions_at_once,
        honest_paths.two_questions_in_one_node,
        honest_paths.question_in_a_subgraph,
        honest_paths.pause_in_a_subgraph,
        honest_paths.pause_that_no_gate_names,
        honest_paths.stopped_by_the_fallback_role,
        honest_changes.edited_by_signature,
        honest_changes.corrected_from_outside,
        honest_changes.corrected_at_the_second_gate,
        honest_changes.corrected_at_a_question,
        honest_changes.corrected_at_a_question_behind_a_gate,
        honest_changes.redirected,
        honest_changes.redirected_from_behind_a_node,
        honest_changes.failed_and_retried,
        honest_changes.answer_failed_and_retried,
        honest_changes.lost_and_repeated,
        honest_changes.answer_lost_and_repeated,
        honest_changes.failed_and_tried_again_by_itself,
        honest_changes.withdrawn,
        honest_changes.reminded_and_escalated,
        honest_changes.expired,
        honest_changes.expired_and_stopped,
        honest_changes.stopped,
        honest_changes.stopped_in_mid_run,
        honest_changes.attested,
        honest_changes.attested_where_only_signatures_count,
        honest_changes.started_by_a_key,
        honest_changes.moved,
        honest_changes.revoked_afterwards,
        honest_changes.annotated_under_signature,
        honest_changes.claimed_commented_and_refused,
        honest_changes.pauses_of_the_caller,
        honest_moves.told_out_of_order,
        honest_moves.fan_out,
        honest_moves.moved_when_decided,
        honest_moves.moved_when_decided_and_written,
        honest_moves.moved_when_answered,
        honest_moves.moved_when_opened,
        honest_moves.attested_beside,
        honest_order.ended_by_a_slower_clock,
        honest_order.ended_by_a_clock_a_minute_behind,
        honest_order.signed_at_a_clock_a_minute_behind,
        honest_order.sealed_by_a_restore,
        honest_order.signed_in_a_role_that_another_gave_as_well,
        honest_order.signed_and_decided_in_the_last_minute,
        honest_views.a_number_that_a_database_writes_out,
        honest_views.a_zero_without_its_sign,
        honest_views.an_object_that_only_the_worker_knows,
        honest_views.bytes_that_are_shown_by_their_digest,
    )
}
