package verismo.gateway_test

test_model_off_the_list_is_refused if {
	verdict_with({"model": "gpt-4o-mini"}).deny == {{
		"code": "model",
		"msg": "Model gpt-4o-mini is not on the list of tenant TENANT_001.",
	}}
}

test_prefix_pattern_allows if verdict_with({"model": "text-embedding-3-small"}).allow

test_star_in_a_model_name_is_no_pattern if codes_with({"model": "*"}) == {"model"}

test_lone_star_allows_every_named_model if {
	verdict_with({"tenant_models": ["*"], "model": "anything"}).allow
	codes_with({"tenant_models": ["*"], "model": ""}) == {"model"}
}

test_empty_list_allows_none if codes_with({"tenant_models": []}) == {"model"}

test_kinds_without_a_model_need_none if {
	every kind in {"graphql", "http", "mcp", "agent"} {
		verdict_with({"operation_kind": kind, "model": "", "tenant_models": [], "method": "tools/list"}).allow
	}
}

test_other_kinds_need_one if codes_with({"operation_kind": "new", "model": ""}) == {"model"}
