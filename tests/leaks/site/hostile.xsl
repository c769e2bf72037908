<?xml version="1.0"?><xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/">
<html><head><link rel="preconnect" href="http://xslt.fromsite.test"/></head><body><img src="http://xsltimg.fromsite.test/x"/>
<script>new Image().src='http://xsltjs.fromsite.test/'</script></body></html></xsl:template></xsl:stylesheet>
