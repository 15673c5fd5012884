package verismo.gateway_test

test_nameless_tenant_is_unknown if codes_with({"tenant": ""}) == {"tenant_unknown"}

test_tenant_that_is_no_text_is_unknown if codes_with({"tenant": 7}) == {"tenant_unknown"}
