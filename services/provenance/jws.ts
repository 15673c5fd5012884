/** The verifier for browsers and Node under the path that the specification names. */
export * from "../../verify-js/verify.js";
