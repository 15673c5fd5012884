package verismo.gateway_test

import data.verismo.gateway

test_good_call_is_allowed if {
	verdict_with({}) == {"allow": true, "deny": set(), "obligations": set()}
}

test_empty_input_is_refused if {
	verdict := gateway.decision with input as {}
	verdict.allow == false
	{denial.code | some denial in verdict.deny} == {"tenant_unknown", "persisted_only", "residency", "purpose", "model"}
}

test_every_missing_fact_that_a_rule_needs_refuses if {
	needed := {
		"tenant", "tenant_region", "tenant_purposes", "tenant_models", "enforcement",
		"operation_purpose", "registered", "purpose", "deployment_region", "model",
	}
	every name in needed {
		verdict := gateway.decision with input as object.remove(good, {name})
		verdict.allow == false
		count(verdict.deny) > 0
	}
}

test_all_reasons_are_given_at_once if {
	codes_with({"deployment_region": "us-east-1", "model": "other"}) == {"residency", "model"}
}
