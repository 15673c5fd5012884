# A tenant reaches only models on its list: exact names, or `prefix*`.
package verismo.gateway

# GraphQL, plain HTTP and MCP deployments have no model.
model_ok if input.operation_kind in {"graphql", "http", "mcp", "agent"}

model_ok if {
	input.model != ""
	input.model in input.tenant_models
}

model_ok if {
	input.model != ""
	some pattern in input.tenant_models
	endswith(pattern, "*")
	startswith(input.model, trim_suffix(pattern, "*"))
}

deny contains {"code": "model", "msg": msg} if {
	not model_ok
	msg := sprintf("Model %v is not on the list of tenant %v.", [fact("model"), fact("tenant")])
}
