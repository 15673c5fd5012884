package verismo.gateway_test

test_purpose_of_the_call_must_be_the_tenants if codes_with({"purpose": "marketing"}) == {"purpose"}

test_purpose_of_the_operation_must_be_the_tenants if {
	some denial in verdict_with({"operation_purpose": "marketing"}).deny
	denial == {
		"code": "purpose",
		"msg": "Operation support-answer is for marketing, which tenant TENANT_001 does not allow.",
	}
}

test_empty_purpose_is_refused if codes_with({"purpose": ""}) == {"purpose"}

test_other_purpose_of_the_tenant_may_run_unless_narrowed if {
	verdict_with({"operation_purpose": "analytics"}).allow
}

test_narrowed_purpose_runs_only_what_is_listed if {
	changes := {"operation_purpose": "analytics"}
	narrowed := codes_with(changes) with data.verismo.purposes.may_run as {"support": ["support"]}
	narrowed == {"purpose"}
	listed := codes_with(changes) with data.verismo.purposes.may_run as {"support": ["analytics"]}
	listed == set()
}

test_unregistered_operation_cannot_claim_another_purpose if {
	changes := {"enforcement": "observe", "registered": false, "operation_purpose": "analytics"}
	codes_with(changes) == {"purpose"}
}
