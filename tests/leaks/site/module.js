import { n } from "./late.js"; window.results.module = n === 1 ? "works" : "wrong";
