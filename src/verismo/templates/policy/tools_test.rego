package verismo.gateway_test

call := {
	"operation": "docs.tools",
	"operation_kind": "mcp",
	"model": "/mcp",
	"method": "tools/call",
	"tool": "search",
	"arguments": {"query": "rate limits", "region": "eu"},
	"argument_names": ["query", "region"],
	"arguments_partial": [],
}

call_with(changes) := object.union(call, changes)

rules := {
	"deny": {"*": ["*/delete_*"], "TENANT_002": ["docs.tools/search"]},
	"arguments": {"docs.tools/search": {"region": ["eu", "us"]}},
}

tool_codes(changes) := codes if {
	codes := codes_with(call_with(changes)) with data.verismo.tools as rules
}

test_registered_tool_may_be_called if codes_with(call) == set()

test_tool_call_within_the_rules_is_allowed if tool_codes({}) == set()

test_denied_glob_refuses_the_tool_for_every_tenant if {
	tool_codes({"tool": "delete_all"}) == {"tool"}
	verdict := verdict_with(call_with({"tool": "delete_all"})) with data.verismo.tools as rules
	verdict.deny == {{
		"code": "tool",
		"msg": "Tenant TENANT_001 may not call docs.tools/delete_all.",
	}}
}

test_denied_glob_of_a_tenant_refuses_only_it if {
	tool_codes({"tenant": "TENANT_002"}) == {"tool"}
	tool_codes({"tenant": "TENANT_003"}) == set()
}

test_glob_does_not_reach_over_the_slash if {
	codes := codes_with(call) with data.verismo.tools as {"deny": {"*": ["*"]}}
	codes == set()
}

test_glob_that_is_no_list_denies_every_tool if {
	codes := codes_with(call) with data.verismo.tools as {"deny": {"*": "*/delete_*"}}
	codes == {"tool"}
	others := codes_with(call) with data.verismo.tools as {"deny": ["*/delete_*"]}
	others == {"tool"}
}

test_no_globs_deny_nothing if {
	none := codes_with(call) with data.verismo.tools as {}
	none == set()
	empty := codes_with(call) with data.verismo.tools as {"deny": {"*": []}}
	empty == set()
}

test_argument_outside_its_values_is_refused if {
	tool_codes({"arguments": {"region": "ap"}}) == {"tool_argument"}
	verdict := verdict_with(call_with({"arguments": {"region": "ap"}})) with data.verismo.tools as rules
	verdict.deny == {{
		"code": "tool_argument",
		"msg": "docs.tools/search may not be called with this value of region.",
	}}
}

test_argument_that_is_missing_is_refused if {
	verdict := verdict_with(object.union(object.remove(call, {"arguments"}), {"arguments": {}})) with data.verismo.tools as {"arguments": {"docs.tools/search": {"other": ["x"]}}}
	{denial.code | some denial in verdict.deny} == {"tool_argument"}
}

test_argument_that_is_cut_is_refused if {
	tool_codes({"arguments_partial": ["region"]}) == {"tool_argument"}
}

test_other_methods_need_no_tool if {
	tool_codes({"method": "tools/list", "tool": ""}) == set()
}

test_call_that_names_no_tool_is_refused if {
	question := object.union(good, object.remove(call, {"tool"}))
	verdict := data.verismo.gateway.decision with input as question
	{denial.code | some denial in verdict.deny} == {"tool"}
}

test_call_without_a_method_is_refused if {
	question := object.union(good, object.remove(call, {"method"}))
	verdict := data.verismo.gateway.decision with input as question
	{denial.code | some denial in verdict.deny} == {"tool"}
}

test_rules_for_tools_do_not_touch_other_kinds if {
	codes := codes_with({"tool": "delete_all"}) with data.verismo.tools as rules
	codes == set()
}
