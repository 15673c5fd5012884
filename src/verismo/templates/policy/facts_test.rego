# The sample question of the tests: a call that every rule allows.
package verismo.gateway_test

good := {
	"tenant": "TENANT_001",
	"tenant_region": "eu",
	"tenant_purposes": ["support", "analytics"],
	"tenant_models": ["gpt-4o", "text-embedding-*"],
	"enforcement": "safelist",
	"operation": "support-answer",
	"operation_kind": "chat",
	"operation_purpose": "support",
	"registered": true,
	"by_id": true,
	"purpose": "support",
	"deployment": "openai-eu",
	"deployment_region": "eu-west-1",
	"model": "gpt-4o",
}

# The verdict for the good call with some facts changed.
verdict_with(changes) := verdict if {
	verdict := data.verismo.gateway.decision with input as object.union(good, changes)
}

codes_with(changes) := {denial.code | some denial in verdict_with(changes).deny}
