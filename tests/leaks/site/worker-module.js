import { n } from "./late.js"; postMessage(n);
