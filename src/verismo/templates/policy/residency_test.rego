package verismo.gateway_test

groups := {"eu": ["eu-west-1", "eu-central-1"], "us": ["us-east-1"]}

residency_with(changes, may_use) := codes if {
	codes := codes_with(changes) with data.verismo.residency as {"groups": groups, "may_use": may_use}
}

test_home_region_itself_is_allowed if verdict_with({"deployment_region": "eu"}).allow

test_region_unknown_to_the_groups_is_its_own_home if {
	verdict_with({"tenant_region": "local", "deployment_region": "local"}).allow
}

test_member_of_home_group_is_allowed if verdict_with({"deployment_region": "eu-central-1"}).allow

test_other_region_is_refused if codes_with({"deployment_region": "us-east-1"}) == {"residency"}

test_london_is_not_in_the_eu if codes_with({"deployment_region": "eu-west-2"}) == {"residency"}

test_home_in_one_region_stays_there if {
	codes_with({"tenant_region": "eu-west-1", "deployment_region": "eu-central-1"}) == {"residency"}
}

test_regions_that_are_empty_do_not_match if {
	codes_with({"tenant_region": "", "deployment_region": ""}) == {"residency"}
}

test_listed_region_is_allowed if {
	residency_with({"deployment_region": "us-east-1"}, {"eu": ["us-east-1"]}) == set()
}

test_member_of_listed_group_is_allowed if {
	residency_with({"deployment_region": "us-east-1"}, {"eu": ["us"]}) == set()
}

test_listing_does_not_work_backwards if {
	changes := {"tenant_region": "us", "deployment_region": "eu-west-1"}
	residency_with(changes, {"eu": ["us"]}) == {"residency"}
}

test_without_data_only_the_home_region_is_allowed if {
	verdict := data.verismo.gateway.decision with input as good with data.verismo.residency as {}
	verdict.allow == false
}

test_message_names_both_regions if {
	some denial in verdict_with({"deployment_region": "us-east-1"}).deny
	denial.msg == "Data of tenant TENANT_001 (home region eu) may not go to deployment openai-eu in region us-east-1."
}
