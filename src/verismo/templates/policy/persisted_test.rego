package verismo.gateway_test

unregistered := {"registered": false, "by_id": false, "operation_purpose": ""}

test_safelist_refuses_unregistered if codes_with(unregistered) == {"persisted_only"}

test_id_only_refuses_unregistered if {
	codes_with(object.union(unregistered, {"enforcement": "id-only"})) == {"persisted_only"}
}

test_safelist_allows_alias if verdict_with({"by_id": false}).allow

test_id_only_refuses_alias if {
	verdict := verdict_with({"by_id": false, "enforcement": "id-only"})
	verdict.deny == {{
		"code": "persisted_only",
		"msg": "Tenant TENANT_001 must call operation support-answer by its id, not by an alias or its text.",
	}}
}

test_id_only_allows_id if verdict_with({"enforcement": "id-only"}).allow

test_observe_runs_and_records_unregistered if {
	verdict := verdict_with(object.union(unregistered, {"enforcement": "observe"}))
	verdict == {"allow": true, "deny": set(), "obligations": {"record_operation"}}
}

test_observe_does_not_record_registered if {
	verdict_with({"enforcement": "observe"}).obligations == set()
}

test_observe_still_obeys_the_other_rules if {
	changes := object.union(unregistered, {
		"enforcement": "observe",
		"tenant": "",
		"deployment_region": "us-east-1",
		"purpose": "marketing",
		"model": "other",
	})
	codes_with(changes) == {"tenant_unknown", "residency", "purpose", "model"}
}

test_unknown_enforcement_refuses_registered if codes_with({"enforcement": "off"}) == {"persisted_only"}
